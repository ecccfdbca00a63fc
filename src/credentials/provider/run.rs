//! One run of a credential provider's program: a request on its standard input, an answer on its output.

use std::{io, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};
use tracing::debug;

use super::{ProviderFault, account::Introduction, config::Plugin, response::Response};

/// Answers hold a handful of tokens of a few KiB each.
const MAX_ANSWER: usize = 1 << 20;

/// As much of what a failing plugin complains is worth a log line.
const MAX_COMPLAINT: usize = 400;

/// A fault, and what the plugin wrote to its standard error: for the operator's log only.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: ProviderFault,
    pub(super) complaint: String,
}

/// Asks `plugin` about `image` (`registry/repository`), for an account if one is introduced; ends it when it takes
/// longer than `limit`.
pub(super) async fn run(
    plugin: &Plugin,
    image: &str,
    account: Option<&Introduction>,
    limit: Duration,
) -> Result<Response, Failure> {
    let mut request = json!({
        "apiVersion": plugin.protocol,
        "kind": "CredentialProviderRequest",
        "image": image,
    });
    if let Some(Introduction { token, annotations }) = account {
        request["serviceAccountToken"] = json!(token);
        if !annotations.is_empty() {
            request["serviceAccountAnnotations"] = json!(annotations);
        }
    }
    let talk = timeout(limit, talk(plugin, request.to_string()));
    let answer = talk
        .await
        .unwrap_or_else(|_| Err(Failure::from(ProviderFault::Hung { after: limit })))?;
    let response = Response::parse(&answer, plugin.protocol, plugin.default_keep);
    response.map_err(Failure::from)
}

async fn talk(plugin: &Plugin, request: String) -> Result<Vec<u8>, Failure> {
    // The kubelet, too, adds the configured variables to its own environment.
    let child = Command::new(&plugin.binary)
        .args(&plugin.args)
        .envs(plugin.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = child.map_err(|error| ProviderFault::Start(Arc::new(error)))?;
    let mut group = Group(child.id());
    let missing = "a piped stream must be there";
    let mut input = child.stdin.take().expect(missing);
    let output = child.stdout.take().expect(missing);
    let error = child.stderr.take().expect(missing);
    let ask = async {
        // A plugin may answer without listening.
        let written = input.write_all(request.as_bytes()).await;
        drop(input);
        if let Err(error) = written {
            debug!("A credential provider did not read its request: {error}");
        }
        Ok(())
    };
    let ((), answer, complaint) = tokio::try_join!(ask, read(output), excerpt(error))?;
    let status = child.wait().await.map_err(broken)?;
    group.0 = None;
    match status.success() {
        true => Ok(answer),
        false => Err(Failure {
            fault: ProviderFault::Exit(status),
            complaint,
        }),
    }
}

fn broken(error: io::Error) -> Failure {
    ProviderFault::Talk(Arc::new(error)).into()
}

/// Reads an answer of bounded length; what is longer is none.
async fn read(output: impl AsyncRead + Unpin) -> Result<Vec<u8>, Failure> {
    let mut answer = Vec::new();
    let mut output = output.take(MAX_ANSWER as u64 + 1);
    output.read_to_end(&mut answer).await.map_err(broken)?;
    match answer.len() > MAX_ANSWER {
        true => Err(ProviderFault::Malformed("it is longer than 1 MiB").into()),
        false => Ok(answer),
    }
}

/// Reads all, and returns the end of it on one line.
async fn excerpt(mut output: impl AsyncRead + Unpin) -> Result<String, Failure> {
    let (mut kept, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        match output.read(&mut chunk).await.map_err(broken)? {
            0 => break,
            read => kept.extend_from_slice(&chunk[..read]),
        }
        let excess = kept.len().saturating_sub(MAX_COMPLAINT);
        kept.drain(..excess);
    }
    let text = String::from_utf8_lossy(&kept);
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    Ok(words.join(" "))
}

/// A process group that is killed when this goes away: a plugin may have started others.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // Not there any more is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl From<ProviderFault> for Failure {
    fn from(fault: ProviderFault) -> Self {
        let complaint = String::new();
        Self { fault, complaint }
    }
}
