//! Protocols whose servers cannot be had here, spoken to over a real socket by a listener that plays their transcript.
//! The transcript proves our side of the conversation: what is sent, that the second question is asked, how we leave.

use crate::{identify, line};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A listener on the first free port of some that answers each message it gets by what `answer` makes of it.
async fn plays(ports: std::ops::Range<u16>, answer: fn(&[u8]) -> Option<Vec<u8>>) -> u16 {
    for port in ports {
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await else {
            continue;
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut message = [0; 4096];
                    while let Ok(n @ 1..) = stream.read(&mut message).await {
                        match answer(&message[..n]) {
                            Some(bytes) => stream.write_all(&bytes).await.unwrap(),
                            None => return,
                        }
                    }
                });
            }
        });
        return port;
    }
    panic!("no free port");
}

fn document(fields: &[u8]) -> Vec<u8> {
    [&(fields.len() as u32 + 5).to_le_bytes()[..], fields, &[0]].concat()
}

/// A reply with this opcode to the request whose header this is.
fn reply(request: &[u8], opcode: u32, body: &[u8]) -> Vec<u8> {
    let length = (16 + body.len() as u32).to_le_bytes();
    [&length[..], &[1, 0, 0, 0], &request[4..8], &opcode.to_le_bytes(), body].concat()
}

#[tokio::test]
async fn mongodb_near_its_port_tells_its_version_in_the_second_answer() {
    let port = plays(27_020..27_028, |request| {
        let length = u32::from_le_bytes(request.get(..4)?.try_into().ok()?) as usize;
        if length != request.len() {
            return None; // as mongod does: an impossible length ends the connection
        }
        let ok = b"\x01ok\0\0\0\0\0\0\0\xf0\x3f";
        match u32::from_le_bytes(request[12..16].try_into().ok()?) {
            2004 => {
                assert!(request.windows(11).any(|w| w == b"admin.$cmd\0"));
                let fields = [&b"\x08ismaster\0\x01\x10maxWireVersion\0\x15\0\0\0"[..], ok].concat();
                Some(reply(request, 1, &[&[8, 0, 0, 0][..], &[0; 12], &[1, 0, 0, 0], &document(&fields)].concat()))
            }
            2013 => {
                assert!(request.windows(10).any(|w| w == b"buildInfo\0"));
                let fields = [&b"\x02version\0\x07\0\0\x007.0.14\0"[..], ok].concat();
                Some(reply(request, 2013, &[&[0; 5][..], &document(&fields)].concat()))
            }
            _ => None,
        }
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!(line(&result), "mongodb MongoDB 7.0.14", "{result:?}");
}

#[tokio::test]
async fn remote_desktop_near_its_port_is_recognised() {
    let port = plays(3_380..3_389, |request| {
        request.starts_with(&[3, 0, 0, 19, 14, 0xe0]).then(|| b"\x03\0\0\x13\x0e\xd0\0\0\x124\0\x02\x1f\x08\0\x02\0\0\0".to_vec())
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!(line(&result), "rdp", "{result:?}");
    assert!(result.banner.unwrap().contains("CredSSP"));
}

#[tokio::test]
async fn an_etcd_is_recognised_by_its_second_path_on_any_port() {
    let port = plays(29_700..29_800, |request| {
        let head = |status: &str, body: &str| {
            format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
        };
        Some(match request {
            r if r.starts_with(b"GET /version ") => head("200 OK", "{\"etcdserver\":\"3.4.23\",\"etcdcluster\":\"3.4.0\"}"),
            r if r.starts_with(b"GET ") => head("404 Not Found", "404 page not found\n"),
            _ => {
                b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
                    .to_vec()
            }
        })
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!((line(&result).as_str(), result.evidence.as_deref()), ("etcd etcd 3.4.23", Some("http-get /version")));
}

#[tokio::test]
async fn the_slow_lane_asks_what_the_ordinary_budget_has_no_connection_for() {
    let port = plays(29_100..29_200, |request| {
        // A root DSE search whose message id is 1: LDAP's result for it, error 1. Anything else ends the connection.
        let search = request.first() == Some(&0x30) && request.get(2..6) == Some(&[2, 1, 1, 0x63]);
        search.then(|| b"0\x0c\x02\x01\x01e\x07\x0a\x01\x01\x04\0\x04\0".to_vec())
    })
    .await;
    assert_eq!(line(&identify(port).await.identification), "closes-on-data");
    let slow = services::identify(crate::loopback(port), &services::Budget::thorough(), &services::Unpaced).await;
    assert_eq!(line(&slow.identification), "ldap", "{slow:?}");
}
