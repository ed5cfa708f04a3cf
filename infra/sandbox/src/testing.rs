//! A client that shows responses byte by byte, for the tests of this crate.

use crate::{Options, Sandbox, alis, caspio};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Calls a served sandbox with the credentials each path wants.
pub(crate) struct Client {
    address: SocketAddr,
    bearer: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) json: Value,
    head: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

impl Client {
    pub(crate) async fn start() -> (Sandbox, Self) {
        let sandbox = Sandbox::open(Options::default()).unwrap();
        let client = Self::of(&sandbox).await;
        (sandbox, client)
    }

    pub(crate) async fn of(sandbox: &Sandbox) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(sandbox.clone().serve(listener));
        let mut client = Self { address, bearer: String::new() };
        client.bearer = client.token(caspio::CLIENT_SECRET).await.json["access_token"].as_str().unwrap().to_owned();
        sandbox.calls.clear();
        client
    }

    pub(crate) async fn token(&self, secret: &str) -> Answer {
        let form = format!("grant_type=client_credentials&client_id={}&client_secret={secret}", caspio::CLIENT_ID);
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.raw("POST", "/caspio/oauth/token", headers, &form).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> io::Result<Answer> {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
        let authorization = match path.starts_with("/alis") {
            true => format!("Basic {}", STANDARD.encode(format!("{}:{}", alis::USERNAME, alis::PASSWORD))),
            false => format!("Bearer {}", self.bearer),
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        self.raw(method, path, &format!("Authorization: {authorization}\r\n"), &body).await
    }

    /// Posts, waits briefly for a response, and disconnects. Returns whether there was no response.
    #[expect(clippy::disallowed_methods, reason = "the test is about waiting")]
    pub(crate) async fn post_and_leave(&self, path: &str, body: &Value) -> bool {
        let silent = tokio::time::timeout(Duration::from_millis(50), self.post(path, body)).await.is_err();
        tokio::time::sleep(Duration::from_millis(300)).await;
        silent
    }

    /// # Errors
    /// The connection closed before a response.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Answer> {
        let mut stream = TcpStream::connect(self.address).await?;
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        Ok(Answer { status, json: serde_json::from_str(body).unwrap_or_default(), head: head.to_owned() })
    }
}

/// A new directory's path.
pub(crate) fn scratch_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("switchyard-sandbox-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    std::env::temp_dir().join(name)
}
