//! Lives of doors, from opening to closing, as scripts.

use crate::script::check;

#[test]
fn a_listed_port_opens_alerts_and_closes_by_refusal() {
    check(
        "asset  10.0.0.0/24 owner=payments weight=8
         at 0m  refuse 10.0.0.7:6379/tcp
         at 15m open 10.0.0.7:6379/tcp redis Redis 7.0.15
         expect no exposure 10.0.0.7:6379/tcp
         run 5m
         expect port 10.0.0.7:6379/tcp absent              # the sweep at 20 m has not been yet
         run 10s
         expect port 10.0.0.7:6379/tcp open openings=1 bound=601s
         expect exposure 10.0.0.7:6379/tcp open critical kind=high-risk-port owner=payments entry=redis
         expect alerts opened:high-risk-port:critical      # one alert, although number and identity are both listed
         at 65m refuse 10.0.0.7:6379/tcp
         run 5m
         expect exposure 10.0.0.7:6379/tcp open critical
         run 30s
         expect port 10.0.0.7:6379/tcp closed reason=rst lag=5m..320s
         expect exposure 10.0.0.7:6379/tcp closed critical reason=rst
         expect alerts opened:high-risk-port:critical closed:high-risk-port:critical
         expect events 10.0.0.7:6379/tcp endpoint.pending endpoint.opened service.changed endpoint.closed",
    );
}

#[test]
fn a_refusal_closes_within_seconds_and_silence_within_a_minute_and_a_half() {
    check(
        "sweep  1m
         at 0m  open 10.0.0.7:22/tcp ssh
         at 0m  open 10.0.0.8:22/tcp ssh
         run 90s
         at 2m  refuse 10.0.0.7:22/tcp
         at 2m  drop 10.0.0.8:22/tcp
         run 30s
         expect port 10.0.0.7:22/tcp closed reason=rst lag=10s..20s
         expect port 10.0.0.8:22/tcp open
         run 2m
         expect port 10.0.0.8:22/tcp closed reason=timeout lag=60s..90s",
    );
}

#[test]
fn a_udp_service_opens_by_its_answer_and_closes_by_refusal_or_by_silence_that_lasts() {
    check(
        "sweep  1m
         at 0m  drop 10.0.0.9:161/udp
         at 0m  open 10.0.0.7:161/udp snmp
         at 0m  open 10.0.0.8:53/udp dns
         run 90s
         expect port 10.0.0.9:161/udp absent               # silence alone is nothing
         expect port 10.0.0.7:161/udp open openings=1
         expect no exposure 10.0.0.9:161/udp
         at 2m  refuse 10.0.0.7:161/udp
         at 2m  drop 10.0.0.8:53/udp
         run 30s
         expect port 10.0.0.7:161/udp closed reason=icmp-port-unreachable lag=10s..20s
         expect port 10.0.0.8:53/udp open
         run 2m
         expect port 10.0.0.8:53/udp closed reason=timeout lag=60s..90s
         at 10m open 10.0.0.8:53/udp dns
         run 90s
         expect port 10.0.0.8:53/udp open openings=2
         expect events 10.0.0.8:53/udp endpoint.pending endpoint.opened service.changed endpoint.closed endpoint.pending endpoint.reopened service.changed",
    );
}

#[test]
fn one_lost_answer_closes_nothing() {
    check(
        "sweep   10m
         at 0m   open 10.0.0.7:22/tcp ssh
         at 19m  drop 10.0.0.7:22/tcp
         at 1210s open 10.0.0.7:22/tcp ssh        # dark for 10 s around the sweep at 20 m
         run 1h
         expect  port 10.0.0.7:22/tcp open openings=1
         expect  events 10.0.0.7:22/tcp endpoint.pending endpoint.opened service.changed",
    );
}

#[test]
fn a_door_seen_open_once_only_vanishes_without_an_exposure() {
    check(
        "at 0m   open 10.0.0.7:6379/tcp redis
         run 1s                                     # the sweep sees it
         expect  port 10.0.0.7:6379/tcp pending
         at 1s   refuse 10.0.0.7:6379/tcp
         run 1m
         expect  port 10.0.0.7:6379/tcp closed openings=0
         expect  no exposure 10.0.0.7:6379/tcp
         expect  alerts
         expect  events 10.0.0.7:6379/tcp endpoint.pending endpoint.vanished",
    );
}

#[test]
fn a_reopening_counts_and_alerts_again() {
    check(
        "sweep   1m
         at 0m   open 10.0.0.7:6379/tcp redis
         at 5m   refuse 10.0.0.7:6379/tcp
         at 10m  open 10.0.0.7:6379/tcp redis
         run 2m
         expect  port 10.0.0.7:6379/tcp open openings=2
         expect  exposure 10.0.0.7:6379/tcp open high opening=2
         expect  alerts opened:high-risk-port:high closed:high-risk-port:high opened:high-risk-port:high
         expect  events 10.0.0.7:6379/tcp endpoint.pending endpoint.opened service.changed endpoint.closed endpoint.pending endpoint.reopened service.changed",
    );
}

#[test]
fn a_listed_service_on_an_odd_port_is_high_risk_by_identity() {
    check(
        "at 0m   open 10.0.0.7:3307/tcp mysql MariaDB 10.11.19
         at 0m   open 10.0.0.7:8080/tcp http nginx
         run 1m
         expect  exposure 10.0.0.7:3307/tcp open high kind=high-risk-service entry=mysql
         expect  exposure 10.0.0.7:8080/tcp open low kind=exposed-port entry=-
         expect  alerts opened:high-risk-service:high",
    );
}

#[test]
fn a_person_outranks_the_scan() {
    check(
        "sweep   1m
         at 0m   open 10.0.0.7:6379/tcp redis
         at 2m   decide 10.0.0.7:6379/tcp registered until=30d
         at 5m   refuse 10.0.0.7:6379/tcp
         at 10m  open 10.0.0.7:6379/tcp redis
         run 5m
         expect  exposure 10.0.0.7:6379/tcp open high opening=2 disposition=registered
         expect  alerts opened:high-risk-port:high closed:high-risk-port:high:disposition opened:high-risk-port:high:disposition",
    );
}

#[test]
fn a_decision_past_its_date_is_none() {
    check(
        "sweep   1m
         at 0m   open 10.0.0.7:6379/tcp redis
         at 2m   decide 10.0.0.7:6379/tcp accepted until=5m
         at 5m   refuse 10.0.0.7:6379/tcp
         at 20m  open 10.0.0.7:6379/tcp redis
         run 5m
         expect  exposure 10.0.0.7:6379/tcp open high disposition=unreviewed
         expect  alerts opened:high-risk-port:high closed:high-risk-port:high:disposition opened:high-risk-port:high",
    );
}

#[test]
fn a_new_range_is_learned_before_it_alerts() {
    check(
        "asset   10.0.0.0/24 observe=1h
         at 0m   open 10.0.0.7:6379/tcp redis
         run 10m
         expect  alerts opened:high-risk-port:high:observe-mode
         at 70m  open 10.0.0.8:6379/tcp redis
         at 75m  refuse 10.0.0.7:6379/tcp
         run 20m
         expect  exposure 10.0.0.7:6379/tcp closed high
         expect  alerts opened:high-risk-port:high:observe-mode opened:high-risk-port:high  # nobody hears of the end of what they never heard of",
    );
}

#[test]
fn on_a_host_that_answers_everywhere_only_proven_services_count() {
    check(
        "at 0m   pseudo 10.0.0.9
         at 0m   open 10.0.0.9:6379/tcp
         at 0m   open 10.0.0.9:3306/tcp
         at 0m   open 10.0.0.9:22/tcp ssh OpenSSH 9.2
         run 1m
         expect  exposure 10.0.0.9:6379/tcp open low kind=exposed-port entry=-
         expect  exposure 10.0.0.9:22/tcp open high kind=high-risk-port entry=ssh
         expect  alerts opened:high-risk-port:high",
    );
}

#[test]
fn the_most_specific_asset_answers_for_an_address() {
    check(
        "asset   10.0.0.0/8 owner=network weight=2
         asset   10.0.0.0/28 owner=payments weight=9
         at 0m   open 10.0.0.7:80/tcp http
         at 0m   open 10.0.1.7:80/tcp http
         at 0m   open 192.0.2.7:80/tcp http
         run 1m
         expect  exposure 10.0.0.7:80/tcp open medium owner=payments
         expect  exposure 10.0.1.7:80/tcp open low owner=network
         expect  exposure 192.0.2.7:80/tcp open low owner=-",
    );
}
