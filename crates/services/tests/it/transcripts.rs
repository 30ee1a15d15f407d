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

/// Answers a root DSE search whose message id is 1 with LDAP's result for it, error 1; and anything else with `otherwise`.
fn ldap_or(request: &[u8], otherwise: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let head = &request[..request.len().min(8)];
    let search = head.first() == Some(&0x30) && head.windows(4).any(|w| w == [2, 1, 1, 0x63]);
    if search { Some(b"0\x0c\x02\x01\x01e\x07\x0a\x01\x01\x04\0\x04\0".to_vec()) } else { otherwise }
}

#[tokio::test]
async fn what_hangs_up_on_other_questions_is_asked_until_one_is_right() {
    let port = plays(29_000..29_100, |request| ldap_or(request, None)).await;
    assert_eq!(line(&identify(port).await.identification), "ldap");
}

#[tokio::test]
async fn the_slow_lane_asks_what_the_ordinary_budget_has_no_connection_for() {
    let port = plays(29_100..29_200, |request| ldap_or(request, Some(Vec::new()))).await;
    assert_eq!(line(&identify(port).await.identification), "silent");
    let slow = services::identify(crate::loopback(port), &services::Budget::thorough(), &services::Unpaced).await;
    assert_eq!(line(&slow.identification), "ldap", "{slow:?}");
}

/// A listener that speaks HTTP: these pages, and the last one for every other path.
async fn site(pages: &'static [(&'static str, &'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", crate::servers::free_port())).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut message = [0; 4096];
                while let Ok(n @ 1..) = stream.read(&mut message).await {
                    let text = String::from_utf8_lossy(&message[..n]).into_owned();
                    let path = text.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
                    let Some(path) = path else {
                        let refusal = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                        let _ = stream.write_all(refusal.as_bytes()).await;
                        return;
                    };
                    let (_, head, body) = pages.iter().find(|(p, ..)| *p == path).or(pages.last()).unwrap();
                    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn what_a_front_page_only_hints_at_a_second_path_states() {
    const GONE: (&str, &str, &str) = ("*", "404 Not Found\r\nContent-Type: text/plain", "404 page not found\n");
    const KUBERNETES: &[(&str, &str, &str)] = &[
        (
            "/version",
            "200 OK\r\nContent-Type: application/json",
            "{\"major\": \"1\", \"minor\": \"28\", \"gitVersion\": \"v1.28.3+k3s1\", \"gitCommit\": \"a8a1c2d\", \"platform\": \"linux/amd64\"}",
        ),
        (
            "*",
            "403 Forbidden\r\nContent-Type: application/json",
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/\\\"\",\"reason\":\"Forbidden\",\"code\":403}",
        ),
    ];
    const HARDENED: &[(&str, &str, &str)] = &[KUBERNETES[1]];
    const CONSUL: &[(&str, &str, &str)] = &[
        (
            "/",
            "301 Moved Permanently\r\nLocation: /ui/\r\nContent-Type: text/html; charset=utf-8",
            "<a href=\"/ui/\">Moved Permanently</a>.\n\n",
        ),
        (
            "/v1/agent/self",
            "200 OK\r\nContent-Type: application/json",
            "{\"Config\":{\"Datacenter\":\"dc1\",\"NodeName\":\"n1\",\"Server\":true,\"Version\":\"1.15.2\"},\"Coord\":{}}",
        ),
        GONE,
    ];
    const OLLAMA: &[(&str, &str, &str)] = &[
        ("/", "200 OK\r\nContent-Type: text/plain; charset=utf-8", "Ollama is running"),
        ("/api/version", "200 OK\r\nContent-Type: application/json; charset=utf-8", "{\"version\":\"0.1.32\"}"),
        GONE,
    ];
    const RAY: &[(&str, &str, &str)] = &[
        ("/", "200 OK\r\nContent-Type: text/html", "<!doctype html><title>Ray Dashboard</title>"),
        (
            "/api/version",
            "200 OK\r\nContent-Type: application/json",
            "{\"version\": \"4\", \"ray_version\": \"2.9.3\", \"ray_commit\": \"62655e1\"}",
        ),
        GONE,
    ];
    // A page that answers the same to everything is none of them.
    const SAME: &[(&str, &str, &str)] =
        &[("*", "200 OK\r\nContent-Type: application/json", "{\"version\":\"0.1.32\",\"kind\":\"Status\"}")];
    for (pages, expected) in [
        (KUBERNETES, "kubernetes Kubernetes 1.28.3+k3s1"),
        (HARDENED, "kubernetes Kubernetes"),
        (CONSUL, "consul Consul 1.15.2"),
        (OLLAMA, "ollama Ollama 0.1.32"),
        (RAY, "ray Ray 2.9.3"),
        (SAME, "protocol-only http"),
    ] {
        let result = identify(site(pages).await).await.identification;
        assert_eq!(line(&result), expected, "{result:?}");
    }
}

#[tokio::test]
async fn binary_services_near_their_ports_are_asked_their_own_question() {
    let cassandra = plays(9_043..9_052, |request| {
        let supported = b"\x84\0pr\x06\0\0\0\x1d\0\x01\0\x0bCQL_VERSION\0\x01\0\x0a3.4.6-SNAP";
        request.starts_with(b"\x04\0pr\x05").then(|| supported.to_vec())
    })
    .await;
    let dubbo = plays(20_871..20_880, |request| {
        let answer = [&b"\xda\xbb\x22\x14"[..], request.get(4..12)?, b"\0\0\0\x01N"].concat();
        request.starts_with(b"\xda\xbb\xe2").then_some(answer)
    })
    .await;
    let rocketmq = plays(9_877..9_886, |request| {
        let text = String::from_utf8_lossy(request.get(8..)?).into_owned();
        let opaque = text.split("\"opaque\":").nth(1)?.split(',').next()?.to_owned();
        let header = format!(
            "{{\"code\":3,\"flag\":1,\"language\":\"JAVA\",\"opaque\":{opaque},\"remark\":\" request type not supported\"}}"
        );
        let length = header.len() as u32;
        Some([&(length + 4).to_be_bytes()[..], &length.to_be_bytes(), header.as_bytes()].concat())
    })
    .await;
    let adb = plays(5_557..5_566, |request| {
        let head = [u32::from_le_bytes(*b"AUTH"), 1, 0, 20, 0, !u32::from_le_bytes(*b"AUTH")];
        let token = [head.iter().flat_map(|n| n.to_le_bytes()).collect(), vec![7u8; 20]].concat();
        request.starts_with(b"CNXN").then_some(token)
    })
    .await;
    for (port, expected) in [
        (cassandra, "cassandra Apache Cassandra"),
        (dubbo, "dubbo Apache Dubbo"),
        (rocketmq, "rocketmq Apache RocketMQ"),
        (adb, "adb Android Debug Bridge"),
    ] {
        let result = identify(port).await.identification;
        assert_eq!(line(&result), expected, "{result:?}");
    }
}

/// A gRPC server without any service: what its answer to an unknown method is, by an HTTP/2 library of its own.
async fn empty_grpc() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", crate::servers::free_port())).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert!(request.method() == "GET" || request.uri().path() == "/grpc.health.v1.Health/Check", "{request:?}");
                    let head = http::Response::builder()
                        .header("content-type", "application/grpc")
                        .header("grpc-status", "12")
                        .body(())
                        .unwrap();
                    let _ = respond.send_response(head, true);
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_grpc_server_is_named_as_one() {
    let port = empty_grpc().await;
    let slow = services::identify(crate::loopback(port), &services::Budget::thorough(), &services::Unpaced).await;
    let result = slow.identification;
    assert_eq!(line(&result), "protocol-only grpc", "{result:?}");
    assert_eq!(result.evidence.as_deref(), Some("grpc-health"));
}

#[tokio::test]
async fn an_upgrade_to_websocket_proves_it() {
    let port = plays(29_900..29_990, |request| {
        let upgrade = request.windows(18).any(|w| w.eq_ignore_ascii_case(b"upgrade: websocket"));
        Some(match (request.starts_with(b"GET "), upgrade) {
            (true, true) => b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_vec(),
            (true, false) => {
                b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 16\r\nContent-Type: text/plain\r\n\r\nUpgrade Required"
                    .to_vec()
            }
            _ => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        })
    })
    .await;
    let result = identify(port).await.identification;
    assert_eq!(line(&result), "protocol-only websocket", "{result:?}");
}

/// A message with its length in front, as Kafka writes it.
fn sized(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body].concat()
}

/// Kafka under its own controller: the requests it understands, then its features.
fn kafka(request: &[u8]) -> Option<Vec<u8>> {
    let id = request.get(8..12)?;
    match u16::from_be_bytes(request.get(6..8)?.try_into().ok()?) {
        0 => Some(sized(&[id, &[0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 12, 0, 18, 0, 0, 0, 4]].concat())),
        3 => {
            let feature = [&[2, 17][..], b"metadata.version", &[0, 1, 0, 19, 0]].concat();
            let list = [2, 0, 18, 0, 0, 0, 4, 0];
            Some(sized(&[id, &[0, 0], &list, &[0; 4], &[1, 0, feature.len() as u8], &feature].concat()))
        }
        _ => None,
    }
}

fn oracle(request: &[u8]) -> Option<Vec<u8>> {
    let text = b"(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=1189)(ERROR_STACK=(ERROR=(CODE=1189)(EMFI=4))))";
    let connect = request.get(4) == Some(&1) && request.ends_with(b"(CONNECT_DATA=(COMMAND=version))");
    let length = [(text.len() + 12) as u16, 0, 0x0400, 0, 0x2200, text.len() as u16];
    connect.then(|| [&length.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>()[..], text].concat())
}

fn sql_server(request: &[u8]) -> Option<Vec<u8>> {
    let answer =
        b"\x04\x01\0\x25\0\0\x01\0\0\0\x15\0\x06\x01\0\x1b\0\x01\x02\0\x1c\0\x01\x03\0\x1d\0\0\xff\x0f\0\x07\xd0\0\0\x02\0";
    (request.first() == Some(&0x12)).then(|| answer.to_vec())
}

fn weblogic(request: &[u8]) -> Option<Vec<u8>> {
    request.starts_with(b"t3 12.1.2\nAS:").then(|| b"HELO:12.2.1.4.0.false\nAS:2048\nHL:19\n\n".to_vec())
}

fn iiop(request: &[u8]) -> Option<Vec<u8>> {
    let id = request.strip_prefix(b"GIOP\x01\0\0\x03")?.get(4..8)?;
    Some([b"GIOP\x01\0\0\x04\0\0\0\x08", id, &[0, 0, 0, 1]].concat())
}

#[tokio::test]
async fn servers_that_cannot_be_had_here_are_recognised_near_their_ports() {
    for (ports, answer, expected) in [
        (39_092..39_095, kafka as fn(&[u8]) -> Option<Vec<u8>>, "kafka Apache Kafka"),
        (15_210..15_220, oracle, "oracle-tns Oracle TNS Listener 19.0.0.0.0"),
        (14_330..14_340, sql_server, "mssql Microsoft SQL Server 15.0.2000"),
        (17_001..17_004, weblogic, "weblogic Oracle WebLogic Server 12.2.1.4.0"),
        (35_280..35_290, iiop, "iiop"),
    ] {
        let port = plays(ports, answer).await;
        let result = identify(port).await.identification;
        assert_eq!(line(&result), expected, "{result:?}");
    }
}

#[tokio::test]
async fn a_debugger_is_never_shaken_hands_with() {
    let port = plays(5_005..5_030, |request| {
        // As a virtual machine does; from then on it runs.
        request.starts_with(b"JDWP-Handshake").then(|| b"JDWP-Handshake".to_vec())
    })
    .await;
    assert_eq!(line(&identify(port).await.identification), "closes-on-data");
    let slow = services::identify(crate::loopback(port), &services::Budget::thorough(), &services::Unpaced).await;
    assert_eq!(line(&slow.identification), "closes-on-data", "{slow:?}");
}
