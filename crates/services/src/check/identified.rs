//! Checks that send nothing: what identification saw is already the proof. All of it data (`[check.identified]`).
//!
//! Seeing it was left to `identify`; whether it matters here is left to `assess`.

use super::dialogue::Decision;
use model::Ts;
use model::finding::Verdict;
use model::service::Service;
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identified {
    /// Answers over UDP with more than so many bytes for each byte asked.
    ratio_above: Option<f64>,
    /// Its certificate's time has run out, or not begun.
    #[serde(default)]
    expired: bool,
    /// Agrees to a version of TLS that RFC 7568 or RFC 8996 forbids.
    #[serde(default)]
    weak_version: bool,
    /// Spoken without TLS around it.
    #[serde(default)]
    in_the_clear: bool,
}

/// What evidence calls the request: nothing more was sent.
const NAME: &str = "identification";

/// Versions that RFC 7568 and RFC 8996 forbid.
const WEAK_VERSIONS: &[&str] = &["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"];

impl Identified {
    /// Whether the check has anything to say of this service at all: one without TLS has no certificate.
    pub(crate) fn concerns(&self, service: &Service) -> bool {
        (self.ratio_above.is_none() || service.amplification.is_some())
            && (!(self.expired || self.weak_version) || service.tls.is_some())
    }

    pub(crate) fn judge(&self, service: &Service, now: Ts) -> Decision {
        let not = |why: String| Decision::new(Verdict::NotProved, NAME).because(why);
        let mut proved = Decision::new(Verdict::Proved, NAME).field("service", &service.name);
        if self.in_the_clear && service.tls.is_some() {
            return not("inside TLS".into());
        }
        if let Some(most) = self.ratio_above {
            let Some(bytes) = service.amplification else { return not("answers nothing over UDP".into()) };
            if bytes.ratio() <= most {
                return not(format!("answers {:.1} bytes for each byte asked", bytes.ratio()));
            }
            proved = proved
                .field("bytes_asked", bytes.asked)
                .field("bytes_answered", bytes.answered)
                .field("ratio", format!("{:.1}", bytes.ratio()));
        }
        if self.expired || self.weak_version {
            let Some(tls) = &service.tls else { return not("without TLS".into()) };
            if self.expired {
                // A certificate that could not be read has no times.
                if tls.not_after == tls.not_before {
                    return Decision::inconclusive(NAME, "the certificate cannot be read");
                }
                if tls.not_before <= now && now <= tls.not_after {
                    return not("the certificate is in its time".into());
                }
                proved =
                    proved.field("not_before", tls.not_before).field("not_after", tls.not_after).field("subject", &tls.subject);
            }
            if self.weak_version {
                let weak: BTreeSet<&str> = versions(service).filter(|v| WEAK_VERSIONS.contains(v)).collect();
                if weak.is_empty() {
                    return not("no forbidden version was agreed to".into());
                }
                proved = proved.field("versions", weak.into_iter().collect::<Vec<_>>().join(" "));
            }
        }
        proved
    }
}

/// Every version of TLS that the endpoint was seen to agree to.
fn versions(service: &Service) -> impl Iterator<Item = &str> {
    service.tls.iter().flat_map(|tls| tls.versions.iter().map(String::as_str).chain([tls.version.as_str()]))
}
