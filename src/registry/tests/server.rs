//! An HTTP/1.1 server that answers by script, and may misbehave in ways no HTTP library allows.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{
        AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt,
        BufReader,
    },
    net::TcpListener,
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

/// A request, as it came.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    headers: HashMap<String, String>,
    pub(super) body: String,
}

/// What to do about a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Answers.
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Says nothing, and keeps the connection.
    Silence,
    /// Hangs up.
    HangUp,
    /// Begins an answer whose body never ends, with a pause between its parts.
    Endless(Duration),
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server on this machine; it ends when dropped.
pub(super) struct Server {
    address: SocketAddr,
    journal: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script).await
    }

    /// Starts a server that speaks TLS if told how.
    pub(super) async fn start_with(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let journal = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn({
            let journal = Arc::clone(&journal);
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (journal, script) = (Arc::clone(&journal), Arc::clone(&script));
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, journal, script).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    serve(stream, journal, script).await;
                                }
                            }
                        }
                    });
                }
            }
        });
        Self {
            address,
            journal,
            task,
        }
    }

    /// Returns the host and port, as in references.
    pub(super) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of the root.
    pub(super) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the requests whose method and target begin so, as in `HEAD /v2/`.
    pub(super) fn requests(&self, begin: &str) -> Vec<Request> {
        let journal = self.journal.lock().unwrap();
        let begins = |r: &&Request| format!("{} {}", r.method, r.target).starts_with(begin);
        journal.iter().filter(begins).cloned().collect()
    }

    /// Returns how many requests began so.
    pub(super) fn count(&self, begin: &str) -> usize {
        self.requests(begin).len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        let (headers, body) = (Vec::new(), String::new());
        Self::Http {
            status,
            headers,
            body,
        }
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub(super) fn body(mut self, text: &str) -> Self {
        if let Self::Http { body, .. } = &mut self {
            *body = text.to_owned();
        }
        self
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    journal: Arc<Mutex<Vec<Request>>>,
    script: Arc<Script>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        let reply = script(&request);
        let is_head = request.method == "HEAD";
        journal.lock().unwrap().push(request);
        let done = match reply {
            Reply::Http {
                status,
                headers,
                body,
            } => {
                let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                let body = if is_head { "" } else { &body };
                stream
                    .write_all(format!("{head}\r\n{body}").as_bytes())
                    .await
            }
            Reply::Silence => std::future::pending().await,
            Reply::HangUp => return,
            Reply::Endless(pause) => {
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
                let mut done = stream.write_all(head.as_bytes()).await;
                while done.is_ok() && !is_head {
                    sleep(pause).await;
                    done = stream.write_all(&[b' '; 65536]).await;
                }
                return;
            }
        };
        if done.is_err() {
            return;
        }
    }
}

async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in lines[1..].iter().filter_map(|line| line.split_once(": ")) {
        let known = headers.entry(name.to_ascii_lowercase()).or_default();
        // As RFC 9110 joins several of one name.
        let comma = if known.is_empty() { "" } else { ", " };
        known.push_str(&format!("{comma}{value}"));
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request {
        method,
        target,
        headers,
        body: String::from_utf8(body).unwrap(),
    })
}
