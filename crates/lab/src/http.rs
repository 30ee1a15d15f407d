//! A small blocking HTTP/1.1 client and request reader, enough to talk to portreeve across a namespace and to catch a webhook.
//!
//! One request per connection, no TLS, no redirects. What the answers mean is left to whoever asked.

use crate::namespace::Namespace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A server to send requests to, reached from inside a namespace.
#[derive(Clone, Debug)]
pub struct Http {
    namespace: Namespace,
    addr: SocketAddr,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Http {
    /// A client of the server at `addr` as the namespace sees it.
    pub fn new(namespace: &Namespace, addr: SocketAddr) -> Self {
        Http { namespace: namespace.clone(), addr }
    }

    /// Sends one request and reads the whole answer.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<Reply> {
        let mut reader = self.send(method, path, headers, body)?;
        let (status_line, headers) = read_head(&mut reader)?;
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.with_context(|| format!("`{status_line}` is no HTTP status line"))?;
        let body = if method == "HEAD" || status == 204 { Vec::new() } else { read_body(&mut reader, &headers, true)? };
        Ok(Reply { status, headers, body })
    }

    /// Opens a `text/event-stream` and gives its lines as they come, for as long as they come.
    pub fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Result<impl Iterator<Item = String> + use<>> {
        let mut reader = self.send("GET", path, headers, None)?;
        let (status_line, _) = read_head(&mut reader)?;
        ensure!(status_line.contains(" 200"), "GET {path}: {status_line}");
        Ok(reader.lines().map_while(|line| line.ok()))
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Result<BufReader<TcpStream>> {
        let connect = || TcpStream::connect_timeout(&self.addr, Duration::from_secs(5));
        let mut stream = self.namespace.enter(connect).with_context(|| format!("connecting to {}", self.addr))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.unwrap_or_default())?;
        Ok(BufReader::new(stream))
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// The first line, and the header lines with their names in lower case.
pub(crate) fn read_head(reader: &mut impl BufRead) -> Result<(String, Vec<(String, String)>)> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        bail!("the connection ended before a byte came");
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok((first.trim_end().to_owned(), headers));
        }
        let (name, value) = line.split_once(':').with_context(|| format!("`{line}` is no header line"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The body that the headers announce; where they announce none, what comes until the end if `to_end`, else nothing.
pub(crate) fn read_body(reader: &mut impl BufRead, headers: &[(String, String)], to_end: bool) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or_default(), 16);
            let size = size.with_context(|| format!("`{}` is no chunk size", line.trim()))?;
            let mut chunk = vec![0; size + 2]; // with the line end after it
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    match header(headers, "content-length") {
        Some(length) => {
            body.resize(length.parse().with_context(|| format!("`{length}` is no length"))?, 0);
            reader.read_exact(&mut body)?;
        }
        None if to_end => {
            reader.read_to_end(&mut body)?;
        }
        None => {}
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_however_they_are_announced() {
        for (message, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "abc"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde"),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end"),
        ] {
            let mut reader = std::io::BufReader::new(message.as_bytes());
            let (first, headers) = read_head(&mut reader).unwrap();
            assert_eq!(first, "HTTP/1.1 200 OK");
            assert_eq!(read_body(&mut reader, &headers, true).unwrap(), body.as_bytes(), "{message}");
        }
    }
}
