//! An answer on its way to the client.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::api::{ApiError, object};

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

// The real server compresses from this size on.
const GZIP_FROM: usize = 128 * 1024;
// All warnings together may have this many characters; beyond, each is cut.
const WARNINGS_TOGETHER: usize = 4096;
const WARNING_CUT: usize = 256;

enum Payload {
    Whole(Vec<u8>),
    Stream(mpsc::Receiver<Bytes>),
}

/// Status, headers and body.
pub(crate) struct Reply {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    warnings: Vec<String>,
    payload: Payload,
}

impl Reply {
    /// An object.
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        let mut bytes = serde_json::to_vec(value).expect("a JSON value must serialise");
        bytes.push(b'\n');
        Self::whole(status, "application/json", bytes)
    }

    /// Plain text.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::whole(
            status,
            "text/plain; charset=utf-8",
            text.as_bytes().to_vec(),
        )
    }

    /// Lines of JSON, one after another.
    pub(crate) fn stream(lines: mpsc::Receiver<Bytes>) -> Self {
        Self {
            payload: Payload::Stream(lines),
            ..Self::whole(200, "application/json", Vec::new())
        }
    }

    fn whole(status: u16, content_type: &'static str, bytes: Vec<u8>) -> Self {
        let payload = Payload::Whole(bytes);
        Self {
            status,
            content_type,
            headers: Vec::new(),
            warnings: Vec::new(),
            payload,
        }
    }

    /// Changes the content type.
    pub(crate) fn typed(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Adds warnings.
    pub(crate) fn warned(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Returns the answer as hyper sends it.
    pub(crate) fn into_response(self, takes_gzip: bool) -> Response<Body> {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .header("audit-id", object::new_uid())
            .header("content-type", self.content_type)
            .header(
                "x-kubernetes-pf-flowschema-uid",
                "00000000-0000-4000-8000-000000000001",
            )
            .header(
                "x-kubernetes-pf-prioritylevel-uid",
                "00000000-0000-4000-8000-000000000002",
            );
        if self
            .headers
            .iter()
            .all(|(name, _)| *name != "cache-control")
        {
            response = response.header("cache-control", "no-cache, private");
        }
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        for warning in warning_headers(&self.warnings) {
            // UTF-8 goes out raw, as the real server sends it.
            response = response.header("warning", warning.into_bytes());
        }
        let body = match self.payload {
            Payload::Whole(bytes) if takes_gzip && bytes.len() >= GZIP_FROM => {
                response = response
                    .header("content-encoding", "gzip")
                    .header("vary", "Accept-Encoding");
                Full::new(gzip(&bytes)).boxed_unsync()
            }
            Payload::Whole(bytes) => Full::new(Bytes::from(bytes)).boxed_unsync(),
            Payload::Stream(lines) => {
                let frames = stream::unfold(lines, |mut lines| async move {
                    let line = lines.recv().await?;
                    Some((Ok(Frame::data(line)), lines))
                });
                StreamBody::new(frames).boxed_unsync()
            }
        };
        response
            .body(body)
            .expect("headers from within the testbed must be valid")
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let reply = match (error.plain, error.code) {
            (true, code) => Self::text(code, &error.message),
            (false, code) => Self::json(code, &error.to_status()),
        };
        let reply = reply.warned(error.warnings.clone());
        match error.retry_after {
            Some(seconds) => reply.with("retry-after", seconds.to_string()),
            None => reply,
        }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("writing to memory must work")
        .into()
}

fn warning_headers(warnings: &[String]) -> Vec<String> {
    let is_sendable = |text: &&String| !text.is_empty() && !text.chars().any(|c| c.is_control());
    let mut kept: Vec<&str> = Vec::new();
    for warning in warnings.iter().filter(is_sendable) {
        if !kept.contains(&warning.as_str()) {
            kept.push(warning);
        }
    }
    let total: usize = kept.iter().map(|text| text.len()).sum();
    let longest = if total > WARNINGS_TOGETHER {
        WARNING_CUT
    } else {
        usize::MAX
    };
    let mut sent = 0;
    kept.iter()
        .map(|text| text.chars().take(longest).collect::<String>())
        .take_while(|text| {
            let before = sent;
            sent += text.len();
            before < WARNINGS_TOGETHER
        })
        .map(|text| {
            format!(
                "299 - \"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_quoted_or_dropped() {
        let warnings = [
            "a \"b\" \\".to_owned(),
            String::new(),
            "two\nlines".to_owned(),
            "ü".to_owned(),
        ];
        assert_eq!(
            warning_headers(&warnings),
            ["299 - \"a \\\"b\\\" \\\\\"", "299 - \"ü\""]
        );
    }

    #[test]
    fn many_long_warnings_are_cut_and_limited() {
        let alone = ["x".repeat(1000)];
        assert_eq!(warning_headers(&alone)[0].len(), 1000 + "299 - \"\"".len());
        let many: Vec<String> = (0..20)
            .map(|n| format!("{n:03}{}", "x".repeat(247)))
            .collect();
        assert_eq!(warning_headers(&many).len(), 17);
    }
}
