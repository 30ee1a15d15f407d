//! Redis and what descends from it: `INFO server` as an inline command, which every text protocol survives.
//!
//! Source: the RESP specification and redis.io on `INFO`. HTTP is never sent first: Redis logs `Host:` as a possible attack.
//! What an open Redis lets anybody do is left to the checks.

use super::{Codec, Found, Reading};
use crate::bytes::tidy;

pub(crate) const CODEC: Codec = Codec { name: "redis-info", request: Some(request), unasked: true, read };

/// The empty line after it makes it a whole request for servers that wait for one (HTTP) and is ignored by Redis.
fn request() -> Vec<u8> {
    b"INFO server\r\n\r\n".to_vec()
}

/// Error answers that only this family gives, and whether they refuse us.
const ERRORS: [(&str, bool); 15] = [
    ("-NOAUTH Authentication required", false),
    ("-NOAUTH HELLO must be called with the client already authenticated", false),
    ("-DENIED Redis is running in protected mode", true),
    ("-DENIED KeyDB is running in protected mode", true),
    ("-DENIED Valkey is running in protected mode", true),
    ("-DENIED Running in protected mode because protected mode is enabled", true),
    ("-LOADING Redis is loading the dataset in memory", false),
    ("-LOADING KeyDB is loading the dataset in memory", false),
    ("-LOADING Valkey is loading the dataset in memory", false),
    ("-LOADING Dragonfly is loading the dataset in memory", false),
    ("-NOPERM this user has no permissions to run", false),
    ("-NOPERM User default has no permissions to run", false),
    ("-ERR unknown command 'INFO', with args beginning with:", false),
    ("-ERR unknown command `INFO`, with args beginning with:", false),
    ("-ERR max number of clients reached", true),
];

/// Makers that an error text can name.
const MAKERS: [&str; 4] = ["Redis", "KeyDB", "Valkey", "Dragonfly"];

fn read(bytes: &[u8]) -> Reading {
    match bytes.first() {
        Some(b'$') => info(bytes),
        Some(b'-') => error(bytes),
        _ => Reading::Foreign,
    }
}

fn error(bytes: &[u8]) -> Reading {
    let known = ERRORS.iter().find(|(text, _)| bytes.starts_with(text.as_bytes()));
    let Some((text, refuses)) = known else {
        let begun = ERRORS.iter().any(|(text, _)| text.as_bytes().starts_with(bytes));
        return if begun { Reading::Partial } else { Reading::Foreign };
    };
    let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
        return Reading::Partial;
    };
    let product = MAKERS.iter().find(|maker| text.contains(*maker));
    Reading::Is(Found {
        service: "redis".into(),
        // Descendants say NOAUTH too; only texts that name their maker name the product.
        product: product.map(|maker| (*maker).to_owned()),
        refuses: *refuses,
        shown: Some(tidy(&String::from_utf8_lossy(&bytes[..end.min(200)]), 200)),
        ..Found::default()
    })
}

fn info(bytes: &[u8]) -> Reading {
    let Some(line) = bytes.windows(2).position(|w| w == b"\r\n") else {
        return if bytes.len() < 12 { Reading::Partial } else { Reading::Foreign };
    };
    let length = std::str::from_utf8(&bytes[1..line]).ok().and_then(|n| n.parse::<usize>().ok());
    // The server section is some 700 bytes; a whole INFO of a large server stays under 64 KiB.
    let Some(length) = length.filter(|n| (1..=65_536).contains(n)) else {
        return Reading::Foreign;
    };
    let Some(body) = bytes.get(line + 2..line + 2 + length) else {
        return Reading::Partial;
    };
    if bytes.get(line + 2 + length..line + 4 + length) != Some(b"\r\n") {
        return if bytes.len() < line + 4 + length { Reading::Partial } else { Reading::Foreign };
    }
    let text = String::from_utf8_lossy(body);
    let field = |name: &str| {
        let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
        Some(tidy(value, 64)).filter(|v| !v.is_empty())
    };
    let stated = |name: &str| field(name).map(|v| v.trim_start_matches("df-").trim_start_matches('v').to_owned());
    // Those that descend from Redis, or imitate it, keep its field and add one of their own.
    let own = [
        ("valkey_version", "Valkey"),
        ("dragonfly_version", "Dragonfly"),
        ("kvrocks_version", "Apache Kvrocks"),
        ("pika_version", "Pika"),
        ("garnet_version", "Garnet"),
        ("keydb_version", "KeyDB"),
    ];
    let own = own.iter().find_map(|(name, product)| Some((*product, stated(name)?)));
    let redis = field("redis_version");
    let (product, version) = match (own, &redis) {
        (Some((product, version)), _) => (product, version),
        // KeyDB says by which program it runs, and where its settings are.
        (None, Some(version)) if field("executable").is_some_and(|e| e.contains("keydb")) => ("KeyDB", version.clone()),
        (None, Some(version)) => ("Redis", version.clone()),
        (None, None) => return Reading::Foreign,
    };
    let redis = redis.unwrap_or_default();
    let mode = field("redis_mode").unwrap_or_default();
    Reading::Is(Found {
        service: "redis".into(),
        product: Some(product.into()),
        version: Some(version),
        // The rest of INFO names paths, the run id and the process: not for storing (R10).
        shown: Some(format!("INFO redis_version={redis} redis_mode={mode}")),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_answer_counts_only_when_its_length_is_right() {
        let body = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nexecutable:/usr/bin/redis-server\r\n";
        let right = format!("${}\r\n{body}\r\n", body.len());
        let Reading::Is(found) = read(right.as_bytes()) else { panic!("not recognised") };
        assert_eq!((found.product.as_deref(), found.version.as_deref()), (Some("Redis"), Some("7.0.15")));
        assert!(!found.shown.unwrap().contains("/usr/bin"), "a path is not for storing");
        for end in 1..right.len() {
            assert_eq!(read(&right.as_bytes()[..end]), Reading::Partial, "{end}");
        }
        assert_eq!(read(format!("${}\r\n{body}\r\n", body.len() - 1).as_bytes()), Reading::Foreign);
    }
}
