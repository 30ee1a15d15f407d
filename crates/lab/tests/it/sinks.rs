//! The sinks keep what they are given, fail when told to, and recover.

use lab::{Http, LabSpec, SmtpSink, WebhookSink, eventually};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Speaks SMTP by hand and gives the answer to the message itself.
fn send(stream: TcpStream, subject: &str) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut say = |line: &str| {
        if !line.is_empty() {
            (&stream).write_all(format!("{line}\r\n").as_bytes()).unwrap();
        }
        loop {
            let mut answer = String::new();
            reader.read_line(&mut answer).unwrap();
            if answer.as_bytes().get(3) != Some(&b'-') {
                return answer;
            }
        }
    };
    say("");
    say("EHLO test");
    say("MAIL FROM:<a@lab.test>");
    say("RCPT TO:<b@lab.test>");
    say("DATA");
    say(&format!("Message-ID: <1@lab.test>\r\nSubject: {subject}\r\n\r\nopen\r\n."))
}

#[test]
fn the_smtp_sink_takes_refuses_and_comes_back() {
    let lab = LabSpec::new().start().unwrap();
    let mut sink = SmtpSink::start(lab.scanner(), lab.fresh_dir("smtp").unwrap(), 2525).unwrap();
    let connect = || {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 2525));
        lab.scanner().enter(|| TcpStream::connect_timeout(&addr, Duration::from_secs(2)))
    };
    assert!(send(connect().unwrap(), "=?utf-8?B?6auY5Y2x?= port").starts_with("250"));
    sink.refuse(true).unwrap();
    assert!(send(connect().unwrap(), "second").starts_with("451"));
    sink.refuse(false).unwrap();
    sink.stop();
    assert!(connect().is_err());
    sink.resume().unwrap();
    assert!(send(connect().unwrap(), "third").starts_with("250"));
    let mails = sink.messages();
    assert_eq!(mails.iter().map(|m| m.subject.as_str()).collect::<Vec<_>>(), ["高危 port", "third"]);
    assert_eq!((mails[0].to.as_slice(), mails[0].text.trim()), (["b@lab.test".to_owned()].as_slice(), "open"));
    assert_eq!(mails[0].message_id.as_deref(), Some("<1@lab.test>"));
}

#[test]
fn the_webhook_sink_keeps_bodies_and_answers_as_told() {
    let lab = LabSpec::new().start().unwrap();
    let sink = WebhookSink::start(lab.scanner()).unwrap();
    let port = sink.url().rsplit(':').next().unwrap().trim_end_matches("/hook").parse().unwrap();
    let http = Http::new(lab.scanner(), SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    sink.answer(503);
    assert_eq!(http.request("POST", "/hook", &[("X-Key", "k")], Some(br#"{"n":1}"#)).unwrap().status, 503);
    sink.answer(200);
    assert_eq!(http.request("POST", "/hook", &[], Some(br#"{"n":2}"#)).unwrap().status, 200);
    let posts = eventually("both posts", Duration::from_secs(2), || Some(sink.posts()).filter(|p| p.len() == 2));
    assert_eq!((posts[0].request.as_str(), posts[0].header("x-key"), posts[0].answered), ("POST /hook", Some("k"), 503));
    assert_eq!(sink.messages(), [serde_json::json!({"n": 2})]);
}
