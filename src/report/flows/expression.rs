//! Which flows: `dst_port = 443 and not (process.name = curl or bytes > 1M)`.
//!
//! ```text
//! either  := both ("or" both)*
//! both    := one ("and" one)*
//! one     := "not" one | "(" either ")" | FIELD | FIELD operator VALUE | FIELD "in" range
//! range   := PREFIX | "(" VALUE ("," VALUE)* ")"
//! operator:= = == != < <= > >= ~ !~
//! ```
//!
//! A field by itself holds where a flow has it and it is not `false`. `~` is "contains". A comparison with what
//! a flow does not have holds for no operator but `!=` and `!~`; a count of 0 that its line leaves out, and
//! whatever else follows from the rest, it has. A value that its field can't have is a mistake:
//! else it would choose no flow, and nobody would know why.

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use serde_json::Value;

use super::compare::{Literal, Operator};
use super::field::Field;
use super::kind::Kind;
use super::token::{Token, What, tokens};

/// Deeper nothing is written by hand, and recursion stays within a stack.
const DEEPEST: usize = 64;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub at: Range<usize>,
    pub why: String,
}

impl Mistake {
    pub(super) fn new(at: Range<usize>, why: impl Into<String>) -> Self {
        Self { at, why: why.into() }
    }

    /// The expression with the place marked.
    pub fn shown(&self, text: &str) -> String {
        let before = text.get(..self.at.start).unwrap_or(text).chars().count();
        let marked = text.get(self.at.clone()).map_or(1, |part| part.chars().count().max(1));
        let line: String =
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        format!("  {line}\n  {}{} {}", " ".repeat(before), "^".repeat(marked), self.why)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All,
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Has(Field),
    Compare(Field, Operator, Literal),
    OneOf(Field, Vec<Literal>),
    Within(Field, IpNet),
}

impl Expression {
    /// Every flow.
    pub fn all() -> Self {
        Self(Node::All)
    }

    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens: &tokens, at: 0, end: text.len() };
        let node = parser.either(0)?;
        match parser.peek() {
            None => Ok(Self(node)),
            Some(token) => Err(Mistake::new(token.at.clone(), "and, or, or the end")),
        }
    }

    pub fn holds(&self, flow: &Value) -> bool {
        self.0.holds(flow)
    }
}

impl Node {
    fn holds(&self, flow: &Value) -> bool {
        match self {
            Self::All => true,
            Self::And(all) => all.iter().all(|node| node.holds(flow)),
            Self::Or(any) => any.iter().any(|node| node.holds(flow)),
            Self::Not(node) => !node.holds(flow),
            Self::Has(field) => field.written(flow).any(|value| value != Value::Bool(false)),
            Self::Compare(field, Operator::NotEqual, literal) => {
                !field.values(flow).any(|value| Operator::Equal.holds(&value, literal))
            }
            Self::Compare(field, Operator::NotContains, literal) => {
                !field.values(flow).any(|value| Operator::Contains.holds(&value, literal))
            }
            Self::Compare(field, operator, literal) => {
                field.values(flow).any(|value| operator.holds(&value, literal))
            }
            Self::OneOf(field, literals) => field
                .values(flow)
                .any(|value| literals.iter().any(|one| Operator::Equal.holds(&value, one))),
            Self::Within(field, net) => field.values(flow).any(|value| is_within(&value, net)),
        }
    }
}

/// An address, or one of several.
fn is_within(value: &Value, net: &IpNet) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|one| is_within(one, net)),
        Value::String(text) => text.parse::<IpAddr>().is_ok_and(|address| net.contains(&address)),
        _ => false,
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    end: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self, wanted: &str) -> Result<Token, Mistake> {
        let token = self.peek().cloned();
        self.at += 1;
        token.ok_or_else(|| Mistake::new(self.end..self.end, wanted))
    }

    fn takes(&mut self, word: &str) -> bool {
        let is = self.peek().is_some_and(
            |token| matches!(&token.what, What::Word(text) if text.eq_ignore_ascii_case(word)),
        );
        self.at += usize::from(is);
        is
    }

    fn either(&mut self, depth: usize) -> Result<Node, Mistake> {
        let mut any = vec![self.both(depth)?];
        while self.takes("or") {
            any.push(self.both(depth)?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Node::Or(any) })
    }

    fn both(&mut self, depth: usize) -> Result<Node, Mistake> {
        let mut all = vec![self.one(depth)?];
        while self.takes("and") {
            all.push(self.one(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Node::And(all) })
    }

    fn one(&mut self, depth: usize) -> Result<Node, Mistake> {
        if depth > DEEPEST {
            let at = self.peek().map_or(self.end..self.end, |token| token.at.clone());
            return Err(Mistake::new(at, "too deep"));
        }
        if self.takes("not") {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        let token = self.next("a field is missing")?;
        let name = match token.what {
            What::Open => {
                let node = self.either(depth + 1)?;
                let close = self.next("a closing parenthesis is missing")?;
                if close.what != What::Close {
                    return Err(Mistake::new(close.at, "and, or, or a closing parenthesis"));
                }
                return Ok(node);
            }
            What::Word(name) => name,
            _ => return Err(Mistake::new(token.at, "a field belongs here")),
        };
        let field = Field::parse(&name).map_err(|why| Mistake::new(token.at.clone(), why))?;
        let compared = || field.compared().map_err(|why| Mistake::new(token.at.clone(), why));
        if self.takes("in") {
            return self.range(compared()?);
        }
        let operator = match self.peek().map(|token| &token.what) {
            Some(What::Operator(text)) => Operator::of(text),
            _ => return Ok(Node::Has(field)),
        };
        self.at += 1;
        let field = compared()?;
        let literal = self.literal(&field, operator)?;
        Ok(Node::Compare(field, operator, literal))
    }

    fn range(&mut self, field: Field) -> Result<Node, Mistake> {
        if self.peek().is_none_or(|token| token.what != What::Open) {
            let (text, at) = self.value()?;
            // A text may be an address: answers of DNS, hosts of requests.
            if !matches!(field.kind(), Kind::Address | Kind::Text { .. } | Kind::Any) {
                return Err(Mistake::new(at, "values in parentheses belong here"));
            }
            let net = text.parse::<IpNet>();
            let net = net.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            return match net {
                Ok(net) => Ok(Node::Within(field, net)),
                Err(_) => Err(Mistake::new(at, "a prefix (10.0.0.0/8) or values in parentheses")),
            };
        }
        self.at += 1;
        let mut literals = Vec::new();
        loop {
            literals.push(self.literal(&field, Operator::Equal)?);
            let token = self.next("a closing parenthesis is missing")?;
            match token.what {
                What::Comma => {}
                What::Close => return Ok(Node::OneOf(field, literals)),
                _ => return Err(Mistake::new(token.at, "a comma or a closing parenthesis")),
            }
        }
    }

    fn literal(&mut self, field: &Field, operator: Operator) -> Result<Literal, Mistake> {
        let (text, at) = self.value()?;
        Literal::new(&text, field.kind(), operator).map_err(|why| {
            let is_name =
                field.name() == "proto" && !text.starts_with(|c: char| c.is_ascii_digit());
            let why = if is_name { format!("{why}; by name: proto_name = {text}") } else { why };
            Mistake::new(at, why)
        })
    }

    fn value(&mut self) -> Result<(String, Range<usize>), Mistake> {
        let token = self.next("a value is missing")?;
        match token.what {
            What::Word(text) | What::Text(text) => Ok((text, token.at)),
            _ => Err(Mistake::new(token.at, "a value belongs here")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn flow() -> Value {
        json!({
            "src_ip": "10.0.0.5", "dst_ip": "2001:db8::1", "src_port": 40_000, "dst_port": 443,
            "proto_name": "tcp", "answered": true, "start": "2026-11-21T09:30:00.000000000Z",
            "duration_ns": 1_500_000_000_u64, "vlans": [10, 20], "src_mac": "02:00:00:00:00:0a",
            "state": "established", "tunnels": [{"kind": "vxlan", "outer_src": "192.0.2.9"}],
            "fwd": {"packets": 5, "wire_bytes": 1_000}, "rev": {"packets": 7, "wire_bytes": 9_000},
            "src_host": {
                "process": {"name": "curl", "pid": 7, "command_line": "curl -s 'a b'"},
                "workload": {
                    "container": "abc", "name": "shop",
                    "labels": {"app": "web", "app.kubernetes.io/name": "shop"},
                },
            },
        })
    }

    #[test]
    fn an_expression_chooses_what_it_says() {
        for (text, expected) in [
            ("dst_port = 443", true),
            ("dst_port == 443 and proto_name = udp", false),
            ("proto_name = udp or dst_port = 443", true),
            ("not proto_name = udp and not (dst_port = 80 or dst_port = 8080)", true),
            ("dst_port in (80, 443)", true),
            ("src_ip in 10.0.0.0/8", true),
            ("dst_ip = 2001:DB8:0::1", true),
            ("ip = 10.0.0.5", true),
            ("ip in 192.0.2.0/24", false),
            ("port = 443 and port = 40000", true),
            ("process.name = curl", true),
            ("process.command_line ~ \"-s 'a\"", true),
            ("src_host.process.pid >= 8", false),
            ("workload.labels.app = web", true),
            ("dst_host", false),
            ("src_host and answered", true),
            ("app.tls.sni != example.org", true),
            ("app.tls.sni = example.org", false),
            ("bytes >= 10k and packets = 12", true),
            ("duration_ns > 1s and duration_ns < 1600ms", true),
            ("start >= 2026-11-21T09:30 and start < 2026-11-21T10", true),
            ("vlans = 20", true),
            ("vlans = 30", false),
            ("proto_name !~ d", true),
            ("proto_name = TCP and state != CLOSED", true),
            ("src_ip = 10.0.0.0/8 and src_ip != 10.0.0.0/24", false),
            ("ip in (192.0.2.0/24, 10.0.0.0/8)", true),
            ("src_ip < 9.255.255.255", false),
            ("src_mac = 02-00-00-00-00-0A", true),
            ("start = 2026-11-21", true),
            ("start = '2026-11-21 09:30:00Z' and start >= 2026-11-21T09:30:00Z", true),
            ("process = curl and src_host.process != wget", true),
            ("process in (wget, curl)", true),
            ("process ~ ur and not dst_host.process = curl", true),
            ("workload = shop and workload = abc and workload != other", true),
            ("instance = i-1 or instance = web-1", false),
            ("workload.labels.app.kubernetes.io/name = shop", true),
            ("tunnels.kind = vxlan and tunnels.outer_src in 192.0.2.0/24", true),
            ("answered = TRUE", true),
        ] {
            let parsed = Expression::parse(text).unwrap_or_else(|e| panic!("{}", e.shown(text)));
            assert_eq!(parsed.holds(&flow()), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_shown_at_its_place() {
        for (text, marked, why) in [
            ("dst_prot = 1", "dst_prot", "did you mean dst_port?"),
            ("src = 10.0.0.1", "src", "did you mean src_ip?"),
            ("dst = 10.0.0.1", "dst", "did you mean dst_ip?"),
            ("abc = 1", "abc", "the flow schema has them all"),
            ("dst_port = ", "", "a value is missing"),
            ("(dst_port = 1", "", "a closing parenthesis is missing"),
            ("dst_port = 1 dst_port = 2", "dst_port", "and, or, or the end"),
            ("dst_ip in 10.0.0.0/33", "10.0.0.0/33", "a prefix"),
            ("= 1", "=", "a field belongs here"),
            ("src_ip = \"x", "\"x", "the text does not end"),
            ("dst_port & 1", "&", "and, or, or the end"),
            ("", "", "a field is missing"),
        ] {
            let mistake = Expression::parse(text).unwrap_err();
            assert!(mistake.why.contains(why), "{text}: {mistake:?}");
            assert_eq!(&text[mistake.at.clone()], marked, "{text}: {mistake:?}");
        }
        let text = "answered and dst_prot = 1";
        let mistake = Expression::parse(text).unwrap_err();
        let marks = "               ^^^^^^^^ no such field; did you mean dst_port?";
        assert_eq!(mistake.shown(text), format!("  {text}\n{marks}"));
    }

    /// What a line leaves out is not what its record lacks.
    #[test]
    fn what_follows_from_the_rest_of_a_line_is_compared_as_if_it_were_there() {
        let one = json!({
            "proto": 6, "fwd": {
                "packets": 1, "ttl_min": 64,
                "payload_sizes": {"min": 7, "max": 7, "histogram": [[7, 1]]},
                "gaps": {"min_ns": 5, "max_ns": 5},
            },
        });
        let holds = |text: &str, flow: &Value| Expression::parse(text).expect(text).holds(flow);
        for text in [
            "duration_ns < 1s",
            "duration_ns = 0",
            "rev.packets = 0",
            "rev.payload_bytes < 1",
            "rev.payload_sizes.max = 0",
            "rev.payload_sizes.empty = 0",
            "fwd.retransmitted = 0",
            "fwd.fragments = 0",
            "fwd.ttl_max = 64",
            "fwd.payload_sizes.p50 = 7",
            "fwd.payload_sizes.mean = 7",
            "fwd.payload_sizes.stddev = 0",
            "fwd.payload_sizes.empty = 0",
            "fwd.gaps.mean_ns = 5",
            "fwd.gaps.stddev_ns = 0",
            "originator_guessed = false",
            "not originator_guessed",
            "continues = false",
            "not fwd.retransmitted",
        ] {
            assert!(holds(text, &one), "{text}");
        }
        for text in ["rev.ttl_max < 255", "rev.payload_sizes.mean < 9", "rev.gaps.mean_ns < 9"] {
            assert!(!holds(text, &one), "{text}");
        }
        assert!(!holds("fwd.retransmitted = 0", &json!({"proto": 17, "fwd": {"packets": 1}})));
        assert!(!holds("fwd.retransmitted = 0", &json!({"proto": 6, "fwd": {"retransmitted": 2}})));
        let silent = json!({"proto": 17, "fwd": {"packets": 3}});
        assert!(holds("fwd.payload_sizes.empty = 3", &silent));
    }

    #[test]
    fn a_value_that_its_field_can_not_have_is_a_mistake() {
        for (text, marked, why) in [
            ("dst_port = abc", "abc", "a number from 0 to 65535"),
            ("dst_port = 99999", "99999", "a number from 0 to 65535"),
            ("port in (443, https)", "https", "a number from 0 to 65535"),
            ("dst_port in 10.0.0.0/8", "10.0.0.0/8", "values in parentheses"),
            ("bytes > 1X", "1X", "a number"),
            ("proto ~ tcp", "tcp", "a number"),
            ("proto = tcp", "tcp", "proto_name = tcp"),
            ("proto = 300", "300", "a number from 0 to 255 belongs here"),
            ("src_ip = nope", "nope", "an address or a prefix"),
            ("src_ip < 10.0.0.0/8", "10.0.0.0/8", "an address"),
            ("ip in (10.0.0.1, 10.0.0)", "10.0.0", "an address or a prefix"),
            ("src_mac = 02:00:00", "02:00:00", "a MAC address"),
            ("proto_name = tpc", "tpc", "no value of this field"),
            ("state = open", "open", "one of one_way, answered"),
            ("answered = yes", "yes", "true or false"),
            ("start > yesterday", "yesterday", "a time in UTC"),
            ("start > 2026-11-21T09:30+02:00", "2026-11-21T09:30+02:00", "a time in UTC"),
            ("src_host = curl", "src_host", "src_host.process"),
            ("fwd > 1", "fwd", "fwd.packets"),
            ("attribution = ebpf", "attribution", "attribution.method"),
        ] {
            let mistake = Expression::parse(text).expect_err(text);
            assert!(mistake.why.contains(why), "{text}: {mistake:?}");
            assert_eq!(&text[mistake.at.clone()], marked, "{text}: {mistake:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_a_mistake_within_it(text in "[a-z_.()=<>!~,\"' 0-9é]{0,40}") {
            match Expression::parse(&text) {
                Ok(expression) => { expression.holds(&flow()); }
                Err(mistake) => {
                    prop_assert!(text.get(mistake.at.clone()).is_some());
                    mistake.shown(&text);
                }
            }
        }

        #[test]
        fn depth_is_bounded(open in 1_usize..5_000) {
            let parens = format!("{}dst_port", "(".repeat(open));
            prop_assert!(Expression::parse(&parens).is_err());
            let nots = format!("{}dst_port", "not ".repeat(open));
            prop_assert_eq!(Expression::parse(&nots).is_ok(), open <= DEEPEST);
        }
    }
}
