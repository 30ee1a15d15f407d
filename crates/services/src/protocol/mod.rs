//! The protocols that a regular expression cannot prove: a folder each, with what to ask and how to read the answer.
//!
//! A codec knows no socket: bytes go in, a [`Reading`] comes out. When to ask which is left to `order`; a protocol that a
//! pattern recognises needs no codec, only rules in `catalog/services/`.

mod adb;
mod ajp;
mod amqp;
mod cassandra;
mod clickhouse;
mod dask;
pub(crate) mod dns;
mod drda;
mod dubbo;
mod epmd;
mod firebird;
mod ftp;
mod giop;
mod git;
mod h2;
mod hadoop;
mod hsqldb;
mod http2;
mod iscsi;
mod jrmp;
mod kafka;
mod kerberos;
mod ldap;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod nats;
mod openwire;
mod oracle;
mod postgresql;
mod rdp;
mod redis;
mod rocketmq;
mod rpc;
mod rtmp;
mod serf;
mod smb;
mod socks;
mod spark;
mod tds;
mod thrift;
mod tor;
mod vnc;
mod weblogic;
mod x11;
mod zabbix;

use model::service::Confidence;

/// What bytes prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) service: String,
    pub(crate) product: Option<String>,
    pub(crate) version: Option<String>,
    /// The service says that it will not talk to this address.
    pub(crate) refuses: bool,
    /// The service says that it talks only to who shows a certificate.
    pub(crate) wants_certificate: bool,
    /// How much the bytes prove; a codec that leaves it out proves by its protocol's structure.
    pub(crate) confidence: Option<Confidence>,
    /// What may be kept as evidence; `None` when the answer holds nothing secret and can be kept as it is.
    pub(crate) shown: Option<String>,
    /// A further question on the same connection whose answer says more. Its answer is read after what came before.
    pub(crate) next: Option<Vec<u8>>,
    /// What the protocol wants said before we leave.
    pub(crate) farewell: Option<Vec<u8>>,
}

/// What a codec makes of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not this protocol.
    Foreign,
    /// So far it could be; more is needed.
    Partial,
    /// This protocol.
    Is(Found),
}

/// One protocol's question and answer.
pub(crate) struct Codec {
    /// Its name in evidence and in the catalogue.
    pub(crate) name: &'static str,
    /// What to send; `None` when the server speaks first.
    pub(crate) request: Option<fn() -> Vec<u8>>,
    /// Whether its answers may also come unasked, right after the handshake.
    pub(crate) unasked: bool,
    /// Reads an answer. Total: any bytes at all give a reading.
    pub(crate) read: fn(&[u8]) -> Reading,
}

/// Every codec. A new one is a folder and a line.
#[rustfmt::skip] // one line each
pub(crate) const CODECS: &[Codec] = &[
    mysql::CODEC,
    nats::CODEC,
    redis::CODEC,
    memcached::CODEC,
    postgresql::CODEC,
    mongodb::CODEC,
    ldap::CODEC,
    rdp::CODEC,
    smb::CODEC,
    kafka::CODEC,
    spark::CODEC,
    hadoop::CODEC,
    rpc::CODEC,
    oracle::CODEC,
    tds::CODEC,
    drda::CODEC,
    weblogic::CODEC,
    jrmp::CODEC,
    giop::CODEC,
    openwire::CODEC,
    dask::CODEC,
    mqtt::CODEC,
    amqp::START,
    amqp::OPEN,
    cassandra::CODEC,
    clickhouse::CODEC,
    x11::CODEC,
    socks::FIVE,
    socks::FOUR,
    ajp::CODEC,
    epmd::CODEC,
    adb::CODEC,
    dubbo::CODEC,
    rocketmq::CODEC,
    zabbix::AGENT,
    zabbix::SERVER,
    thrift::FRAMED,
    thrift::PLAIN,
    thrift::SASL,
    h2::CODEC,
    hsqldb::CODEC,
    firebird::CODEC,
    kerberos::CODEC,
    tor::CODEC,
    git::CODEC,
    iscsi::CODEC,
    serf::CODEC,
    dns::CODEC,
    rtmp::CODEC,
    http2::CODEC,
    vnc::CODEC,
    ftp::CODEC,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic_a_codec(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for codec in CODECS {
                (codec.read)(&bytes);
            }
        }

        #[test]
        fn noise_behind_a_plausible_head_panics_no_codec(
            head in prop::sample::select(vec![
                &b"$100\r\n# Server\r\n"[..], b"INFO {", b"\x4a\x00\x00\x00\x0a", b"R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x20",
                b"E\x00\x00\x00\x20SFATAL\x00", b"\x30\x0c\x02\x01\x01\x64", b"\x03\x00\x00\x13\x0e\xd0", b"VERSION ",
                b"\0\0\0\x60\xfeSMB\x40\0", b"\0\0\0\x10\x70\x72\x74\x01\0\0\0\0\0\x01",
                b"\x40\x00\x00\x00\x01\x00\x00\x00\x70\x72\x74\x01\x01\x00\x00\x00",
                b"\0\0\0\0\0\0\x01\x0d\x02prtreeveprt\x01\0\0\0\xf4", b"\0\0\0|{\x08\xff\xff\xff\xff\x0f\x10\x02\x18\x09\"",
                b"\x80\0\0 prt\x01\0\0\0\x01", b"\0\x60\0\0\x04\0\0\0\x22\0\0\x54", b"\x04\x01\0\x25\0\0\x01\0\0\0\x15\0\x06",
                b"\0\x85\xd0\x02\0\x01\0\x7f\x14\x43", b"HELO:12.2.1", b"N\0\x09127.", b"GIOP\x01\0\0\x04\0\0\0\x08prt\x01", b"RFB 003.008\n",
            ]),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for codec in CODECS {
                (codec.read)(&[head, &rest[..]].concat());
            }
        }
    }

    #[test]
    fn nothing_at_all_proves_nothing() {
        for codec in CODECS {
            assert!(!matches!((codec.read)(&[]), Reading::Is(_)), "{}", codec.name);
        }
    }
}
