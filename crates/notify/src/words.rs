//! The words of notifications in both languages. The console has its own; addresses and product names are never translated.

use model::Reason;
use model::alert::{AlertKind, FindingNote, Language};
use model::check::Checks;
use model::exposure::{RiskKind, Severity};
use model::finding::FindingKind;
use model::segment::SegmentNote;
use serde::Serialize;

/// Fixed texts of the templates.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Labels {
    pub lang: &'static str,
    pub host: &'static str,
    pub endpoint: &'static str,
    pub service: &'static str,
    pub risk: &'static str,
    pub severity: &'static str,
    pub asset: &'static str,
    pub owner: &'static str,
    pub observed: &'static str,
    pub evidence: &'static str,
    pub proved: &'static str,
    pub advice: &'static str,
    pub open_console: &'static str,
    pub unknown: &'static str,
    pub nobody: &'static str,
    pub footer: &'static str,
    pub test: &'static str,
    pub digest_intro: &'static str,
    pub hosts: &'static str,
    pub more: &'static str,
}

const EN: Labels = Labels {
    lang: "en",
    host: "host",
    endpoint: "endpoint",
    service: "service",
    risk: "risk",
    severity: "severity",
    asset: "asset",
    owner: "owner",
    observed: "observed",
    evidence: "evidence",
    proved: "proved",
    advice: "what to do",
    open_console: "open in the console",
    unknown: "not identified",
    nobody: "no owner",
    footer: "Sent by portreeve. Times are UTC.",
    test: "This is a test message from portreeve. If you can read it, notifications reach you.",
    digest_intro: "Many exposures changed at once. This digest takes the place of one message for each host.",
    hosts: "Hosts concerned",
    more: "further alerts are in the console",
};

const ZH: Labels = Labels {
    lang: "zh-CN",
    host: "主机",
    endpoint: "端点",
    service: "服务",
    risk: "风险类型",
    severity: "级别",
    asset: "资产",
    owner: "负责人",
    observed: "发现时间",
    evidence: "依据",
    proved: "检查发现",
    advice: "处置建议",
    open_console: "在控制台查看",
    unknown: "未识别",
    nobody: "无负责人",
    footer: "本邮件由 portreeve 发送，时间均为 UTC。",
    test: "这是一条来自 portreeve 的测试消息。收到即表示通知可以送达。",
    digest_intro: "短时间内有大量暴露面变化，本摘要代替逐台主机的通知。",
    hosts: "涉及主机数",
    more: "条告警请在控制台查看",
};

pub(crate) fn labels(language: Language) -> &'static Labels {
    match language {
        Language::En => &EN,
        Language::Zh => &ZH,
    }
}

pub(crate) fn kind(kind: AlertKind, language: Language) -> &'static str {
    match (kind, language) {
        (AlertKind::Opened, Language::En) => "open",
        (AlertKind::Opened, Language::Zh) => "开放",
        (AlertKind::Closed, Language::En) => "closed",
        (AlertKind::Closed, Language::Zh) => "已关闭",
        (AlertKind::PseudoOpen, Language::En) => "answers on every port",
        (AlertKind::PseudoOpen, Language::Zh) => "全端口应答",
        (AlertKind::SegmentUnknown, Language::En) => "unknown",
        (AlertKind::SegmentUnknown, Language::Zh) => "状态未知",
        (AlertKind::SegmentKnown, Language::En) => "known again",
        (AlertKind::SegmentKnown, Language::Zh) => "恢复可观测",
        (AlertKind::FindingProved, Language::En) => "finding",
        (AlertKind::FindingProved, Language::Zh) => "检查发现问题",
    }
}

pub(crate) fn risk(risk: RiskKind, language: Language) -> &'static str {
    match (risk, language) {
        (RiskKind::ExposedPort, Language::En) => "exposed port",
        (RiskKind::ExposedPort, Language::Zh) => "风险端口",
        (RiskKind::HighRiskPort, Language::En) => "high-risk port",
        (RiskKind::HighRiskPort, Language::Zh) => "高危端口",
        (RiskKind::HighRiskService, Language::En) => "high-risk service",
        (RiskKind::HighRiskService, Language::Zh) => "高危服务",
    }
}

pub(crate) fn severity(severity: Severity, language: Language) -> &'static str {
    match (severity, language) {
        (_, Language::En) => severity.as_str(),
        (Severity::Low, Language::Zh) => "低",
        (Severity::Medium, Language::Zh) => "中",
        (Severity::High, Language::Zh) => "高",
        (Severity::Critical, Language::Zh) => "严重",
    }
}

pub(crate) fn reason(reason: Reason, language: Language) -> &'static str {
    let (en, zh) = match reason {
        Reason::SynAck => ("accepted a connection (SYN-ACK)", "接受连接（SYN-ACK）"),
        Reason::Connected => ("accepted a connection", "接受连接"),
        Reason::Rst => ("refused by the host (RST)", "主机拒绝（RST）"),
        Reason::ConnectionRefused => ("refused by the host", "主机拒绝连接"),
        Reason::Timeout => ("no answer to repeated probes", "多次探测均无应答"),
        Reason::IcmpProhibited => ("forbidden by a device on the way (ICMP)", "途中设备禁止（ICMP）"),
        Reason::IcmpUnreachable => ("host or network unreachable (ICMP)", "主机或网络不可达（ICMP）"),
        Reason::IcmpPortUnreachable => ("port unreachable (ICMP)", "端口不可达（ICMP）"),
        Reason::EchoReply => ("echo reply", "回显应答"),
        Reason::ArpReply => ("ARP or neighbour reply", "ARP 或邻居应答"),
        Reason::UdpResponse => ("answered over UDP", "UDP 有应答"),
        Reason::Assumed => ("assumed", "按约定视为在线"),
        Reason::OwnOrder => ("closed by our own order", "由处置单关闭"),
        Reason::Reported => ("reported by another scanner", "其他扫描器报告"),
    };
    match language {
        Language::En => en,
        Language::Zh => zh,
    }
}

/// What a check proved, as the catalogue puts it; for a check that it does not have, the kind of thing.
pub(crate) fn finding(note: &FindingNote, language: Language) -> String {
    if let Some(check) = Checks::in_use().get(&note.check) {
        return match language {
            Language::En => check.title.en.clone(),
            Language::Zh => check.title.zh.clone(),
        };
    }
    let (en, zh) = match note.kind {
        FindingKind::UnauthenticatedAccess => ("access without credentials", "未授权访问"),
        FindingKind::DefaultCredential => ("a default password signs in", "默认口令可登录"),
        FindingKind::WeakConfiguration => ("weak configuration", "配置不安全"),
        FindingKind::WeakTls => ("weak TLS", "TLS 配置不安全"),
        FindingKind::Amplification => ("can be made to flood others", "可被利用放大流量"),
    };
    match language {
        Language::En => format!("{en} ({})", note.check),
        Language::Zh => format!("{zh}（{}）", note.check),
    }
}

/// A segment as the subject of a line.
pub(crate) fn segment(note: &SegmentNote, language: Language) -> String {
    match language {
        Language::En => format!("segment {} as seen from {}", note.range, note.vantage),
        Language::Zh => format!("网段 {}（探测视角 {}）", note.range, note.vantage),
    }
}

/// How many of its canaries are silent.
pub(crate) fn silent(note: &SegmentNote, language: Language) -> String {
    let (silent, of) = (note.silent, note.canaries);
    match language {
        Language::En => format!("{silent} of {of} canaries silent"),
        Language::Zh => format!("{of} 个金丝雀端口中 {silent} 个无应答"),
    }
}

/// What to do about a segment that cannot be observed.
pub(crate) fn blind_advice(language: Language) -> &'static str {
    match language {
        Language::En => {
            "Check the scanner's uplink, routes and every firewall between it and the segment. Until the canaries answer again \
             nothing is closed there for being silent. If the endpoints are gone for good, say so in the console: they stop being \
             canaries."
        }
        Language::Zh => {
            "请检查扫描节点的上联链路、路由以及到该网段途经的防火墙。金丝雀端口恢复应答之前，该网段内不会因无应答而判定关闭。\
             如这些端口确已下线，请在控制台将其标记为非金丝雀端口。"
        }
    }
}
