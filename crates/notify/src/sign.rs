//! Signatures of webhook bodies: HMAC-SHA256 (RFC 2104) over the time and the body, so that a receiver can tell that a
//! message is ours and is not an old one played again. Which header carries it is `receivers/webhook.rs`'s.

use sha2::{Digest, Sha256};

/// Block size of SHA-256 in bytes.
const BLOCK: usize = 64;

/// The value of `X-Portreeve-Signature`: `t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, "<unix seconds>." + body)>`.
pub fn signature(secret: &str, unix_seconds: i64, body: &[u8]) -> String {
    format!("t={unix_seconds},v1={}", hex(&mac(secret, unix_seconds, body)))
}

/// Whether the header value was made with the secret for this body, at most `max_age_seconds` before or after
/// `now_unix_seconds`. The reference for those who write a receiver.
pub fn verify(secret: &str, header: &str, body: &[u8], now_unix_seconds: i64, max_age_seconds: u64) -> bool {
    let field = |name: &str| header.split(',').find_map(|f| f.trim().strip_prefix(name)?.strip_prefix('='));
    let (Some(t), Some(v1)) = (field("t").and_then(|t| t.parse::<i64>().ok()), field("v1")) else {
        return false;
    };
    let expected = hex(&mac(secret, t, body));
    // every byte is looked at whatever the first difference is, so that the time taken tells nothing
    let differs = v1.len() ^ expected.len() | v1.bytes().zip(expected.bytes()).fold(0, |acc, (a, b)| acc | usize::from(a ^ b));
    differs == 0 && t.abs_diff(now_unix_seconds) <= max_age_seconds
}

fn mac(secret: &str, unix_seconds: i64, body: &[u8]) -> [u8; 32] {
    hmac(secret.as_bytes(), &[unix_seconds.to_string().as_bytes(), b".", body])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new_with_prefix(block.map(|b| b ^ 0x36));
    parts.iter().for_each(|part| inner.update(part));
    let mut outer = Sha256::new_with_prefix(block.map(|b| b ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_the_one_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 4] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ];
        for (key, data, expected) in cases {
            assert_eq!(hex(&hmac(key, &[data])), expected);
        }
    }

    #[test]
    fn a_signature_holds_for_its_secret_its_body_and_its_time_only() {
        let header = signature("s3cret", 1_700_000_000, b"{}");
        assert!(verify("s3cret", &header, b"{}", 1_700_000_100, 300));
        for (secret, header, body, now) in [
            ("other", header.as_str(), &b"{}"[..], 1_700_000_000),
            ("s3cret", &header, b"{ }", 1_700_000_000),
            ("s3cret", &header, b"{}", 1_700_000_301),
            ("s3cret", &header.replace("1700000000", "1700000200"), b"{}", 1_700_000_200),
            ("s3cret", &header[..header.len() - 1], b"{}", 1_700_000_000),
            ("s3cret", "", b"{}", 1_700_000_000),
        ] {
            assert!(!verify(secret, header, body, now, 300), "{secret} {header}");
        }
    }
}
