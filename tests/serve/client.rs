//! A client that shows what is on the wire. HTTP/1.0, so that an answer is what
//! comes until the connection ends.

use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The JSON of an answer that must be good.
    pub fn good(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// The message of an error in OpenAI's form, which every error has.
    pub fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let error = &self.json()["error"];
        assert!(error["type"].is_string() && error.get("code").is_some(), "{self:?}");
        error["message"].as_str().expect("a message").into()
    }

    /// The data of server-sent events.
    pub fn events(&self) -> Vec<String> {
        assert!(self.head.to_lowercase().contains("content-type: text/event-stream"), "{self:?}");
        let lines = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        lines.map(String::from).collect()
    }
}

pub fn request(path: &str, body: &str, headers: &str) -> String {
    format!(
        "POST {path} HTTP/1.0\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn post(address: SocketAddr, path: &str, body: &str, headers: &str) -> Answer {
    send(address, &request(path, body, headers))
}

pub fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.0\r\n{headers}\r\n"))
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

/// Sends something, and reads until the other side closes.
pub fn send(address: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(address);
    stream.write_all(text.as_bytes()).expect("sent");
    read(&mut stream)
}

pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => (),
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => (),
        Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
    }
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {text:?}"));
    Answer { status, head: head.into(), body: body.into() }
}
