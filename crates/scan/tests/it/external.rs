//! Other scanners: their output as it comes, whole and broken, and their commands as they behave and misbehave.

use model::address::IpRange;
use model::{Endpoint, Scope, State, Ts};
use proptest::prelude::*;
use scan::external::{
    CommandError, CommandJob, Engine, Findings, Format, FormatError, Ran, Reader, Reading, Tally, Via, read, run,
};
use scan::{Found, Progress};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

const NOW: Ts = Ts(1_800_000_000_000);
/// What a reader may keep at a time: the longest element, and what finds the format.
const MOST_HELD: usize = (1 << 20) + (8 << 10);

const CORPORA: [(&str, Format); 4] = [
    ("nmap_xml", Format::NmapXml),
    ("masscan_json", Format::MasscanJson),
    ("masscan_list", Format::MasscanList),
    ("naabu_json", Format::NaabuJson),
];

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        samples.push((format!("{name}/{}", path.file_name().unwrap().to_string_lossy()), std::fs::read(path).unwrap()));
    }
    assert!(samples.len() >= 3, "{} samples in {}", samples.len(), folder.display());
    samples
}

/// Reads in pieces of that many bytes.
fn in_pieces(bytes: &[u8], size: usize, format: Option<Format>) -> (Vec<Reading>, Result<Tally, FormatError>) {
    let mut reader = Reader::new(format, Via::Import);
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        if let Err(error) = reader.feed(piece, NOW, &mut out) {
            return (out, Err(error));
        }
        assert!(reader.held() <= MOST_HELD, "{} bytes held", reader.held());
    }
    let end = reader.finish(NOW, &mut out).cloned();
    (out, end)
}

#[test]
fn no_sample_of_the_corpus_panics_a_reader_wherever_it_is_cut() {
    for (name, format) in CORPORA {
        for (sample, bytes) in corpus(name) {
            for end in (0..=bytes.len()).step_by(1 + bytes.len() / 2_000) {
                for as_format in [Some(format), None] {
                    _ = read(&bytes[..end], as_format, NOW);
                }
            }
            // Every reader meets every sample.
            for (_, other) in CORPORA {
                _ = read(&bytes, Some(other), NOW);
            }
            let whole = read(&bytes, None, NOW);
            for size in [1, 7, 4_096] {
                assert_eq!(in_pieces(&bytes, size, None), whole, "{sample} in pieces of {size}");
            }
        }
    }
}

#[test]
fn every_format_is_recognised_by_its_first_bytes() {
    for (name, format) in CORPORA {
        for (sample, bytes) in corpus(name) {
            let mut reader = Reader::new(None, Via::Import);
            let fed = reader.feed(&bytes, NOW, &mut Vec::new()).and_then(|()| reader.finish(NOW, &mut Vec::new()).map(drop));
            match reader.format() {
                Some(found) => assert_eq!(found, format, "{sample}"),
                None => assert!(fed.is_err(), "{sample} is in no format and not refused"),
            }
        }
    }
}

#[test]
fn what_real_scanners_wrote_is_read_whole() {
    for (name, ports, hosts, services, scanner) in [
        ("nmap_xml/services", 6, 2, 2, "nmap"),
        ("nmap_xml/extraports", 202, 1, 0, "nmap"),
        ("nmap_xml/ping-scan", 0, 3, 0, "nmap"),
        ("nmap_xml/by-masscan", 2, 0, 0, "masscan"),
        ("masscan_json/two-open", 2, 0, 0, "masscan"),
        ("masscan_json/object-a-line", 3, 0, 0, "masscan"),
        ("masscan_list/two-open", 2, 0, 0, "masscan"),
    ] {
        let (folder, _) = name.split_once('/').unwrap();
        let (_, bytes) = corpus(folder).into_iter().find(|(sample, _)| sample == name).unwrap();
        let tally = read(&bytes, None, NOW).1.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((tally.ports, tally.hosts, tally.services), (ports, hosts, services), "{name}: {tally:?}");
        assert_eq!((tally.scanner.as_str(), tally.complete, tally.unusable), (scanner, true, 0), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// PR-11: whatever comes, however it is cut.
    #[test]
    fn arbitrary_bytes_never_panic_and_pieces_do_not_matter(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        size in 1usize..40,
        format in proptest::sample::select(vec![None, Some(Format::NmapXml), Some(Format::MasscanJson), Some(Format::MasscanList), Some(Format::NaabuJson)]),
    ) {
        prop_assert_eq!(in_pieces(&bytes, size, format), read(&bytes, format, NOW));
    }

    /// Samples with some bytes replaced get further than noise does.
    #[test]
    fn damaged_samples_never_panic(which in 0usize..4, sample in any::<prop::sample::Index>(), hits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let (name, format) = CORPORA[which];
        let samples = corpus(name);
        let mut bytes = sample.get(&samples).1.clone();
        for (at, byte) in hits {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        prop_assert_eq!(in_pieces(&bytes, 13, Some(format)), read(&bytes, Some(format), NOW));
    }
}

#[test]
fn a_bomb_costs_no_more_than_its_cap() {
    let endless: [(&str, Option<Format>); 6] = [
        ("<nmaprun args=\"", None),
        ("<nmaprun><host>", None),
        ("<!DOCTYPE nmaprun [<!ENTITY a \"aaaa\">", None),
        ("[{\"ip\":\"", None),
        ("[{\"a\":[", None),
        ("#masscan\nopen tcp ", None),
    ];
    for (head, format) in endless {
        let mut reader = Reader::new(format, Via::Import);
        let mut out = Vec::new();
        let mut fed = reader.feed(head.as_bytes(), NOW, &mut out);
        let filler = head.as_bytes()[head.len().saturating_sub(6)..].repeat(1_000);
        for _ in 0..1_000 {
            if fed.is_err() {
                break;
            }
            fed = reader.feed(&filler, NOW, &mut out);
            assert!(reader.held() <= MOST_HELD, "{head}: {} bytes held", reader.held());
        }
        let error = fed.expect_err(head).to_string();
        assert!(error.contains("line ") && error.contains("hint:"), "{error}");
    }
}

/// A command line of `sh`, which is the command here: no shell is ever put around one.
fn script(text: &str) -> Engine {
    let argv = ["sh", "-c", text, "engine", "{targets_file}", "{ports}", "{rate}"];
    Engine {
        name: "script".into(),
        // Braces of the script itself are doubled.
        sweep: Some(
            argv.iter()
                .enumerate()
                .map(|(i, s)| if i == 2 { s.replace('{', "{{").replace('}', "}}") } else { (*s).into() })
                .collect(),
        ),
        liveness: None,
        format: None,
        ipv4: true,
        ipv6: false,
        timeout: Duration::from_secs(20),
    }
}

fn job(targets: &[&str], scope: &[&str], ports: &str) -> CommandJob {
    let ranges = |words: &[&str]| words.iter().map(|w| w.parse().unwrap()).collect::<Vec<IpRange>>();
    CommandJob {
        targets: ranges(targets),
        ports: Some(ports.parse().unwrap()),
        scope: Scope::new(&ranges(scope), &[]),
        rate_pps: 500,
        retries: 1,
        seed: 7,
        report_all: false,
        always_report: HashSet::new(),
    }
}

fn clock() -> Ts {
    Ts(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

/// Runs it; what it found, how it ended, and how long that took.
fn running(engine: &Engine, job: CommandJob, cancel: CancellationToken) -> (Vec<Findings>, Result<Ran, CommandError>, Duration) {
    // One at a time, so that what one leaves behind is not taken for another's.
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let began = Instant::now();
    let (found, end): (_, Result<Ran, CommandError>) = runtime.block_on(async {
        let (tx, mut rx) = tokio::sync::mpsc::channel(16);
        let engine = engine.clone();
        let run = tokio::spawn(async move { run(&engine, job, clock, tx, Arc::new(Progress::default()), cancel).await });
        let mut found = Vec::new();
        while let Some(one) = rx.recv().await {
            found.push(one);
        }
        (found, run.await.unwrap())
    });
    let took = began.elapsed();
    assert_eq!(left_over(), Vec::<PathBuf>::new(), "its files are gone, however it ended");
    (found, end, took)
}

fn opens(found: &[Findings]) -> Vec<String> {
    let open = |f: &Findings| match f {
        Findings::Found(Found::Endpoint(o)) if o.state == State::Open => Some(o.endpoint.to_string()),
        _ => None,
    };
    let mut all: Vec<String> = found.iter().filter_map(open).collect();
    all.sort();
    all
}

/// Directories of this process that engines have left.
fn left_over() -> Vec<PathBuf> {
    let prefix = format!("portreeve-engine-{}-", std::process::id());
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries.map(|e| e.path()).filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&prefix)).collect()
}

fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A zombie that nobody has reaped yet runs no more.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn a_command_gets_its_targets_in_scope_and_an_almost_empty_environment() {
    let notes = std::env::temp_dir().join(format!("prE-notes-{}", std::process::id()));
    let text = format!(
        "{{ cat \"$1\"; stat -c %a \"$1\" \"$(dirname \"$1\")\"; echo \"$2 $3\"; env | sort | cut -d= -f1 | tr '\\n' ' '; read -r x || echo no input; }} > {}; \
         echo 'open tcp 22 10.0.0.2 1'; echo 'open tcp 22 10.0.0.9 1'; echo 'open tcp 23 10.0.0.2 1'; \
         echo 'open udp 22 10.0.0.2 1'",
        notes.display()
    );
    let job = job(&["10.0.0.0/29", "192.0.2.0/24"], &["10.0.0.2-10.0.0.5"], "22,80-81");
    let (found, end, _) = running(&script(&text), job, CancellationToken::new());
    let ran = end.unwrap();
    assert_eq!((opens(&found), ran.open_found), (vec!["10.0.0.2:22/tcp".to_owned()], 1));
    assert_eq!((ran.refused, ran.refused_udp), (3, 1), "an address out of scope, a port and a protocol that it was not told");
    let told = std::fs::read_to_string(&notes).unwrap();
    std::fs::remove_file(&notes).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[..5], ["10.0.0.2/31", "10.0.0.4/31", "600", "700", "22,80-81 500"], "{told}");
    assert!(lines[5].ends_with("no input"), "{told}");
    for inherited in ["USER", "CARGO", "LOGNAME", "RUST"] {
        assert!(!lines[5].contains(inherited), "{told}");
    }
    // What was seen was seen while it ran, whatever its clock says.
    let Findings::Found(Found::Endpoint(o)) = &found[0] else { panic!("{found:?}") };
    assert!(clock().since(o.observed_at).0 < 60_000, "{o:?}");
}

#[test]
fn nothing_in_scope_runs_nothing() {
    let (found, end, _) = running(&script("exit 3"), job(&["10.0.0.0/29"], &["192.0.2.0/24"], "22"), CancellationToken::new());
    assert_eq!((found, end.unwrap()), (vec![], Ran::default()));
}

#[test]
fn every_way_of_failing_is_told_with_what_was_found_before() {
    let line = "echo 'open tcp 22 10.0.0.2 1';";
    for (text, word, found_before) in [
        (format!("{line} echo 'cannot open eth7' >&2; exit 4"), "cannot open eth7", 1),
        (format!("{line} echo '[-] FAIL: could not determine default interface' >&2; exit 0"), "FAIL: could not determine", 1),
        (format!("{line} echo 'oops: this is a message'"), "`oops:` is not a record", 1),
        (format!("echo '#masscan'; {line} sleep 0.1; kill -9 $$"), "signal: 9", 1),
        (format!("echo '#masscan'; {line} exit 0"), "before its last line", 1),
        ("printf '<nmaprun><host>'".into(), "within <host>", 0),
        ("echo '<nmaprun><runstats><finished exit=\"error\" errormsg=\"no route\"/></runstats></nmaprun>'".into(), "no route", 0),
        // A megabyte of messages does not block it, and its last lines are kept.
        (
            format!("{line} head -c 1000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo 'the reason' >&2; exit 1"),
            "the reason",
            1,
        ),
    ] {
        let (found, end, took) = running(&script(&text), job(&["10.0.0.0/29"], &["10.0.0.0/8"], "22"), CancellationToken::new());
        let error = end.expect_err(&text).to_string();
        assert!(error.contains("`script`") && error.contains(word), "{text}: {error}");
        assert!(error.len() < 2_000, "{} bytes", error.len());
        assert_eq!(opens(&found).len(), found_before, "{text}");
        assert!(took < Duration::from_secs(10), "{text}: {took:?}");
    }
    let mut missing = script("");
    missing.sweep = Some(vec!["portreeve-no-such-program".into(), "{targets}".into(), "{ports}".into()]);
    let (_, end, _) = running(&missing, job(&["10.0.0.1"], &["10.0.0.0/8"], "22"), CancellationToken::new());
    let error = end.unwrap_err().to_string();
    assert!(error.contains("`portreeve-no-such-program` cannot be started") && error.contains("hint:"), "{error}");
    let (_, end, _) = running(&script("true"), job(&["2001:db8::1"], &["2001:db8::/32"], "22"), CancellationToken::new());
    assert!(end.unwrap_err().to_string().contains("not set up for IPv6"));
    let liveness = CommandJob { ports: None, ..job(&["10.0.0.1"], &["10.0.0.0/8"], "22") };
    let (_, end, _) = running(&script("true"), liveness, CancellationToken::new());
    assert!(end.unwrap_err().to_string().contains("not set up for liveness"));
}

#[test]
fn a_command_that_hangs_is_ended_with_its_grandchildren() {
    let pids = std::env::temp_dir().join(format!("prE-pids-{}", std::process::id()));
    // Neither it nor its child heeds the polite signal.
    let hang = |note: &str| {
        format!(
            "trap '' TERM; (trap '' TERM; sleep 300) & echo $! > {0}-{note}; echo 'open tcp 22 10.0.0.2 1'; while :; do sleep 1; done",
            pids.display()
        )
    };
    let grandchild = |note: &str| std::fs::read_to_string(format!("{}-{note}", pids.display())).unwrap();
    let targets = || job(&["10.0.0.0/29"], &["10.0.0.0/8"], "22");

    let slow = Engine { timeout: Duration::from_secs(1), ..script(&hang("timeout")) };
    let (found, end, took) = running(&slow, targets(), CancellationToken::new());
    assert!(matches!(end, Err(CommandError::TooLong { .. })), "{end:?}");
    assert_eq!(opens(&found), ["10.0.0.2:22/tcp"], "what it had found by then is kept");
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(!alive(&grandchild("timeout")));

    let cancel = CancellationToken::new();
    let canceller = cancel.clone();
    let file = format!("{}-cancel", pids.display());
    let waits = std::thread::spawn(move || {
        while std::fs::read_to_string(&file).unwrap_or_default().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        canceller.cancel();
    });
    let (_, end, took) = running(&script(&hang("cancel")), targets(), cancel);
    waits.join().unwrap();
    assert!(end.unwrap().cancelled && took < Duration::from_secs(8), "{took:?}");
    assert!(!alive(&grandchild("cancel")));

    // It ends, and what it leaves behind holds its output open.
    let leaves = format!("(trap '' TERM; sleep 300) & echo $! > {0}-leaves; echo 'open tcp 22 10.0.0.2 1'", pids.display());
    let (found, end, took) = running(&script(&leaves), targets(), CancellationToken::new());
    assert_eq!((opens(&found).len(), end.unwrap().cancelled), (1, false));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(!alive(&grandchild("leaves")));
    for note in ["timeout", "cancel", "leaves"] {
        std::fs::remove_file(format!("{}-{note}", pids.display())).unwrap();
    }
}

#[test]
fn output_in_a_file_is_read_while_it_is_written() {
    let mut engine = script(
        "echo progress; echo '#masscan' >> \"$1\"; echo 'open tcp 22 10.0.0.2 1' >> \"$1\"; sleep 1; echo 'open tcp 22 10.0.0.3 1' >> \"$1\"; echo '# end' >> \"$1\"",
    );
    let argv = engine.sweep.as_mut().unwrap();
    argv[4] = "{output}".into();
    argv.push("{targets}".into());
    let (found, end, _) = running(&engine, job(&["10.0.0.0/29"], &["10.0.0.0/8"], "22"), CancellationToken::new());
    end.unwrap();
    assert_eq!(opens(&found), ["10.0.0.2:22/tcp", "10.0.0.3:22/tcp"]);
}

/// Two namespaces with a link between them, and a Redis in one; gone when dropped.
struct Pair {
    names: [String; 2],
    servers: Vec<std::process::Child>,
}

impl Pair {
    /// `None`, said loudly, where it cannot be made.
    fn new() -> Option<Pair> {
        let missing = ["ip", "redis-server", "nmap", "masscan", "ping"]
            .into_iter()
            .find(|tool| !Command::new("sh").args(["-c", &format!("command -v {tool} >/dev/null")]).status().unwrap().success());
        if !rustix::process::geteuid().is_root() || missing.is_some() {
            eprintln!("SKIPPED: needs root, ip, redis-server, nmap, masscan and ping; missing: {}", missing.unwrap_or("root"));
            return None;
        }
        let name = |side: &str| format!("prE-{side}-{}", std::process::id());
        let mut pair = Pair { names: [name("s"), name("h")], servers: Vec::new() };
        let [s, h] = &pair.names;
        let text = format!(
            "set -e\nip netns add {s}\nip netns add {h}\nip -n {s} link add e0 type veth peer name e1 netns {h}\n\
             ip -n {s} addr add 198.18.77.1/24 dev e0\nip -n {h} addr add 198.18.77.2/24 dev e1\nip -n {h} addr add 198.18.77.3/24 dev e1\n\
             for n in {s} {h}; do ip -n $n link set lo up; done\nip -n {s} link set e0 up\nip -n {h} link set e1 up\n\
             ip -n {s} route add default via 198.18.77.2\n"
        );
        assert!(Command::new("sh").args(["-c", &text]).status().unwrap().success());
        let redis = format!(
            "exec ip netns exec {h} redis-server --bind 198.18.77.2 --port 6379 --protected-mode no --save '' >/dev/null"
        );
        // masscan's receiver only looks up when a frame comes.
        let noise = format!("exec ip netns exec {h} ping -i 0.2 198.18.77.1 >/dev/null");
        for server in [redis, noise] {
            pair.servers.push(Command::new("sh").args(["-c", &server]).spawn().unwrap());
        }
        let up = Instant::now() + Duration::from_secs(10);
        let asks = format!("echo PING | ip netns exec {s} timeout 1 redis-cli -h 198.18.77.2 2>/dev/null | grep -q PONG");
        while !Command::new("sh").args(["-c", &asks]).status().unwrap().success() {
            assert!(Instant::now() < up, "redis does not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(pair)
    }

    fn engine(&self, name: &str, sweep: &[&str], liveness: Option<&[&str]>) -> Engine {
        let inside = |argv: &[&str]| {
            ["ip", "netns", "exec", &self.names[0]].iter().chain(argv).map(|s| s.to_string()).collect::<Vec<String>>()
        };
        let engine = Engine {
            name: name.into(),
            sweep: Some(inside(sweep)),
            liveness: liveness.map(inside),
            timeout: Duration::from_secs(60),
            ..script("")
        };
        engine.check().unwrap();
        engine
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for server in &mut self.servers {
            _ = server.kill();
            _ = server.wait();
        }
        for name in &self.names {
            _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

#[test]
fn real_masscan_and_nmap_find_what_is_there() {
    let Some(pair) = Pair::new() else { return };
    let closed: Endpoint = "198.18.77.2:6380/tcp".parse().unwrap();
    let work = || CommandJob {
        always_report: HashSet::from([closed]),
        ..job(&["198.18.77.2-198.18.77.4"], &["198.18.77.0/24"], "6300-6400")
    };

    let masscan = pair.engine(
        "masscan",
        &[
            "masscan",
            "-iL",
            "{targets_file}",
            "-p{ports}",
            "--rate",
            "{rate}",
            "--retries",
            "{retries}",
            "--seed",
            "{seed}",
            "--wait",
            "1",
            "--interface",
            "e0",
            "-oJ",
            "-",
        ],
        None,
    );
    let (found, end, _) = running(&masscan, work(), CancellationToken::new());
    let ran = end.unwrap();
    assert_eq!((opens(&found), ran.refused), (vec!["198.18.77.2:6379/tcp".to_owned()], 0));

    let nmap = pair.engine(
        "nmap",
        &[
            "nmap",
            "-n",
            "-sS",
            "-sV",
            "--version-light",
            "-p",
            "{ports}",
            "--max-rate",
            "{rate}",
            "-iL",
            "{targets_file}",
            "-oX",
            "-",
        ],
        Some(&["nmap", "-n", "-sn", "--max-rate", "{rate}", "-iL", "{targets_file}", "-v", "-oX", "{output}"]),
    );
    let (found, end, _) = running(&nmap, work(), CancellationToken::new());
    assert_eq!(end.unwrap().refused, 0);
    assert_eq!(opens(&found), ["198.18.77.2:6379/tcp"]);
    let states: Vec<(Endpoint, State)> = found
        .iter()
        .filter_map(|f| if let Findings::Found(Found::Endpoint(o)) = f { Some((o.endpoint, o.state)) } else { None })
        .collect();
    assert!(states.contains(&(closed, State::Closed)), "a port asked about by name is said closed: {states:?}");
    let service =
        found.iter().find_map(|f| if let Findings::Service(s) = f { Some(s) } else { None }).expect("nmap identifies it");
    let known = service.service.clone().unwrap();
    let source = known.source.unwrap();
    assert_eq!((known.name.as_str(), source.name.as_str(), source.confidence), ("redis", "engine:nmap", Some(10)));

    let up = CommandJob { ports: None, ..work() };
    let (found, end, _) = running(&nmap, up, CancellationToken::new());
    end.unwrap();
    let mut hosts: Vec<String> = found
        .iter()
        .filter_map(|f| if let Findings::Found(Found::Host(h)) = f { Some(format!("{} {}", h.ip, h.liveness)) } else { None })
        .collect();
    hosts.sort();
    assert_eq!(hosts, ["198.18.77.2 online", "198.18.77.3 online", "198.18.77.4 offline"]);

    // What it says of its failure is what is told.
    let lost = pair.engine(
        "masscan",
        &["masscan", "-iL", "{targets_file}", "-p{ports}", "--rate", "{rate}", "--interface", "nope0", "-oJ", "-"],
        None,
    );
    let (found, end, _) = running(&lost, work(), CancellationToken::new());
    let error = end.unwrap_err().to_string();
    assert!(found.is_empty() && error.contains("nope0"), "{error}");
}
