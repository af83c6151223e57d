//! Enough HTTP to ask the control API as any client would: one request a connection, JSON both ways.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

/// The control API at a base URL, as one user or nobody.
#[derive(Clone)]
pub(crate) struct Http {
    address: String,
    token: Option<String>,
}

impl Http {
    /// At `http://HOST:PORT`, as nobody.
    pub(crate) fn new(base: &str) -> Self {
        let address = base.strip_prefix("http://").expect("the API speaks plain HTTP here");
        Self { address: address.to_owned(), token: None }
    }

    /// As who has this access token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Which.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("somebody logged in")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        self.json("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.json("POST", path, Some(body))
    }

    /// Status and JSON; null where the answer has no body.
    pub(crate) fn json(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, text) = self.text(method, path, body);
        let value = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
        (status, value)
    }

    /// Status and body as it is.
    pub(crate) fn text(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
        let (status, _, body) = self.whole(method, path, body);
        (status, body)
    }

    /// Status, head in small letters, and body.
    pub(crate) fn whole(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the API accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket has time-outs");
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        if let Some(token) = &self.token {
            request += &format!("authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            request += "content-type: application/json\r\n";
        }
        request += &format!("content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("the API reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the API answers in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let head = head.to_ascii_lowercase();
        let chunked = head.contains("transfer-encoding: chunked");
        (status, head, if chunked { dechunked(body) } else { body.to_owned() })
    }
}

fn dechunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk begins with its size");
        text += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}
