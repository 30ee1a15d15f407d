//! The real servers: each answers as what the ground truth says it is, stops, and comes back.

use lab::{Kind, LabSpec, Server, TempPostgres};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

#[test]
fn each_server_is_what_the_truth_says_and_stops_when_told() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
    let web = lab.host("web");
    let title = "Router Console".to_owned();
    // (server, what to send, a piece of what comes back)
    let cases: Vec<(Server, &[u8], &str)> = vec![
        (Server::Redis { port: 6379 }, b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n", "redis_version:"),
        (Server::MariaDb { port: 3307 }, b"", "MariaDB"),
        (Server::Nginx { port: 8081, title: title.clone() }, b"GET / HTTP/1.0\r\n\r\n", "<title>Router Console</title>"),
        (Server::NginxTls { port: 8443, title }, b"GET / HTTP/1.0\r\n\r\n", "400 The plain HTTP request was sent to HTTPS port"),
        (Server::Sshd { port: 2222 }, b"", "SSH-2.0-OpenSSH"),
        (Server::Vsftpd { port: 2121 }, b"", "220 (vsFTPd"),
        (Server::Memcached { port: 11211 }, b"version\r\n", "VERSION 1."),
        (Server::PostgreSql { port: 5433 }, b"\0\0\0\x08\x04\xd2\x16\x2f", "N"),
        (Server::Dropbear { port: 2223 }, b"", "SSH-2.0-dropbear"),
        (Server::Rsync { port: 873 }, b"", "@RSYNCD: "),
    ];
    for (server, send, expected) in cases {
        let began = Instant::now();
        let running = web.serve(server.clone()).unwrap();
        eprintln!("{server:?} accepted after {:?}", began.elapsed());
        assert!(web.truth().iter().any(|o| o.port == server.port() && o.service == server.service()), "{server:?}");
        for ip in [web.v4().into(), web.v6().into()] {
            let addr = SocketAddr::new(ip, server.port());
            let mut stream = lab.scanner().enter(|| TcpStream::connect_timeout(&addr, Duration::from_secs(2))).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.write_all(send).unwrap();
            let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&got).contains(expected) {
                match stream.read(&mut buffer) {
                    Ok(n) if n > 0 => got.extend_from_slice(&buffer[..n]),
                    end => panic!("{server:?} at {addr}: {end:?} after {:?}", String::from_utf8_lossy(&got)),
                }
            }
        }
        running.stop();
        let addr = SocketAddr::new(web.v4().into(), server.port());
        let again = lab.scanner().enter(|| TcpStream::connect_timeout(&addr, Duration::from_secs(2)));
        assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "{server:?} has stopped");
        assert!(web.truth().is_empty());
        if matches!(server, Server::Redis { .. } | Server::MariaDb { .. }) {
            running.restart().unwrap();
            assert_eq!(web.truth().len(), 2);
            running.stop();
        }
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let lab = LabSpec::new().host("web", 10, Kind::Refusing).start().unwrap();
    let web = lab.host("web");
    web.serve(Server::Silent { port: 6379 }).unwrap();
    let error = format!("{:#}", web.serve(Server::Redis { port: 6379 }).unwrap_err());
    assert!(error.contains("redis on web") && error.contains("listens on port 6379"), "{error}");
    // In the server's own words, where it gets as far as to complain.
    let error = format!("{:#}", web.serve(Server::Nginx { port: 0, title: "x".into() }).unwrap_err());
    assert!(error.contains("ended with") && error.contains("invalid port in \"0\""), "{error}");
    assert_eq!(web.truth().len(), 2, "only what runs is true");
}

#[test]
fn a_temporary_cluster_keeps_its_rows_through_an_outage() {
    let lab = LabSpec::new().start().unwrap();
    for mut postgres in [TempPostgres::start().unwrap(), TempPostgres::start_in(lab.scanner()).unwrap()] {
        postgres.psql("portreeve", "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").unwrap();
        postgres.stop();
        assert!(postgres.psql("portreeve", "SELECT n FROM t").is_err());
        postgres.resume().unwrap();
        assert_eq!(postgres.psql("portreeve", "SELECT n FROM t").unwrap().trim(), "7");
    }
}
