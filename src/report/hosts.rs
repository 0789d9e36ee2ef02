//! The hosts at a flow's ends, in words: the part "Hosts" of its page.

use serde_json::{Map, Value};

use super::case;
use super::coverage::reason_words;
use super::detail::{Page, list, plain, word};

/// Fields of a process that [`process`] has words for.
const WORDED: [&str; 15] = [
    "pid",
    "start_ticks",
    "started",
    "name",
    "exe",
    "exe_deleted",
    "exe_in_writable_folder",
    "command_line",
    "args_cut",
    "uid",
    "user",
    "login_uid",
    "login_user",
    "ancestors",
    "container",
];

/// Adds the part; nothing where no host is known.
pub(super) fn part(page: &mut Page, record: &Value) {
    let sides = [("source", &record["src_host"]), ("destination", &record["dst_host"])];
    let mut known = sides.iter().filter(|(_, side)| side.is_object()).peekable();
    if known.peek().is_none() {
        return;
    }
    page.title("Hosts");
    for (name, side) in known {
        let fields = side["process"].as_object();
        let why = reason_words(&word(&side["attribution"]["reason"]));
        page.field(
            name,
            match fields {
                Some(process) => named(process),
                None if why.is_empty() => "no process is known".to_owned(),
                None => format!("no process: {why}"),
            },
        );
        if let Some(fields) = fields {
            process(page, fields);
        }
        page.field("  workload", workload(&side["workload"]));
        page.field("  image", word(&side["workload"]["image"]));
        page.field("  labels", pairs(&side["workload"]["labels"]));
        instance(page, &side["instance"]);
        page.field("  found by", found(&side["attribution"]));
    }
}

/// The same of an alert's process and workload.
pub(super) fn of_case(page: &mut Page, view: &Value, of_workload: &Value) {
    if let Some(fields) = view.as_object() {
        page.field("process", named(fields));
        let mut fields = fields.clone();
        fields.insert("command_line".to_owned(), case::command_line(view).into());
        fields.remove("args");
        fields.remove("parent");
        process(page, &fields);
    }
    page.field("  workload", workload(of_workload));
    page.field("  image", word(&of_workload["image"]));
}

/// `curl(4720)`.
fn named(process: &Map<String, Value>) -> String {
    let of = |field: &str| process.get(field).map(word).unwrap_or_default();
    format!("{}({})", of("name"), of("pid"))
}

fn process(page: &mut Page, process: &Map<String, Value>) {
    let of = |field: &str| process.get(field).map(word).unwrap_or_default();
    let is = |field: &str| process.get(field) == Some(&Value::Bool(true));
    let mut exe = of("exe");
    for (flag, words) in
        [("exe_deleted", "deleted"), ("exe_in_writable_folder", "in a folder anybody may write in")]
    {
        if is(flag) {
            exe.push_str(&format!(", {words}"));
        }
    }
    page.field("  program", exe.trim_start_matches(", ").to_owned());
    let cut = if is("args_cut") { " ..." } else { "" };
    page.field("  command line", format!("{}{cut}", of("command_line")));
    page.field("  parents", chain(process));
    page.field("  started", of("started"));
    let (user, login) =
        (account(&of("user"), &of("uid")), account(&of("login_user"), &of("login_uid")));
    let as_other = !login.is_empty() && login != user;
    let login = if as_other { format!(", logged in as {login}") } else { String::new() };
    page.field("  user", format!("{user}{login}").trim_start_matches(", ").to_owned());
    for (name, value) in process.iter().filter(|(name, _)| !WORDED.contains(&name.as_str())) {
        page.field(&format!("  {}", name.replace('_', " ")), plain(value));
    }
}

/// `systemd(1) > sshd(812) > bash(4711) > curl(4720)`.
fn chain(process: &Map<String, Value>) -> String {
    let ancestors = process.get("ancestors").and_then(Value::as_array);
    let Some(ancestors) = ancestors.filter(|all| !all.is_empty()) else { return String::new() };
    let all = ancestors.iter().rev().filter_map(Value::as_object).chain([process]);
    all.map(named).collect::<Vec<_>>().join(" > ")
}

/// `ann (1000)`, with what is known.
fn account(name: &str, number: &str) -> String {
    match (name, number) {
        ("", number) => number.to_owned(),
        (name, "") => name.to_owned(),
        (name, number) => format!("{name} ({number})"),
    }
}

/// `shop/web-7d9f, container web (containerd:0123456789ab), sidecar of Deployment/web`.
fn workload(workload: &Value) -> String {
    /// As runtimes shorten them on their own screens.
    const ID_LETTERS: usize = 12;
    if !workload.is_object() {
        return String::new();
    }
    let of = |field: &str| word(&workload[field]);
    let pod: Vec<_> = [of("namespace"), of("pod")].into_iter().filter(|s| !s.is_empty()).collect();
    let id: String = of("container").chars().take(ID_LETTERS).collect();
    let id = [of("runtime"), id].into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>();
    let mut parts = vec![pod.join("/")];
    parts.push(format!("container {} ({})", of("name"), id.join(":")).replace("  ", " "));
    parts.push(match (of("role"), of("owner")) {
        (role, owner) if role.is_empty() && owner.is_empty() => String::new(),
        (role, owner) if role.is_empty() => format!("of {owner}"),
        (role, owner) if owner.is_empty() => role,
        (role, owner) => format!("{role} of {owner}"),
    });
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn instance(page: &mut Page, instance: &Value) {
    let Some(fields) = instance.as_object() else { return };
    let of = |field: &str| word(&instance[field]);
    let mut head = vec![of("id"), of("name")];
    head.retain(|part| !part.is_empty());
    head.dedup();
    page.field("  instance", head.join(" "));
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(&***name, "id" | "name")) {
        page.field(&format!("    {}", name.replace('_', " ")), plain(value));
    }
}

fn found(how: &Value) -> String {
    let method = word(&how["method"]);
    if method.is_empty() {
        return String::new();
    }
    let mut words = method;
    let basis = word(&how["basis"]).replace('_', " ");
    if !basis.is_empty() {
        words.push_str(&format!(", {basis}"));
    }
    words.push_str(&format!(", certainty {}", word(&how["certainty"])));
    if how["translated"] == true {
        words.push_str(", addresses translated on the way");
    }
    if how["provoked"] == true {
        words.push_str(", by the packet that the error quotes");
    }
    let others = list(&how["others"]);
    if !others.is_empty() {
        words.push_str(&format!("; could as well be {others}"));
    }
    words
}

/// `app=web, tier=front`.
fn pairs(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name}={}", word(value))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::detail::flow;
    use super::super::terminal::Style;
    use super::*;

    fn page(record: Value) -> String {
        flow(&[record], Style::default())
    }

    #[test]
    fn who_was_at_both_ends_is_said_in_words() {
        let record = json!({
            "src_host": {
                "process": {
                    "pid": 4720, "start_ticks": 9, "name": "curl", "exe": "/tmp/curl",
                    "exe_deleted": true, "command_line": "curl -s 'http://h/a b'",
                    "started": "2026-11-21T09:30:00.000000000Z", "uid": 0, "user": "root",
                    "login_uid": 1000, "login_user": "ann", "terminal": "pts/3",
                    "ancestors": [
                        {"pid": 4711, "start_ticks": 8, "name": "bash"},
                        {"pid": 812, "start_ticks": 7, "name": "sshd"},
                        {"pid": 1, "start_ticks": 1, "name": "systemd"},
                    ],
                },
                "workload": {
                    "runtime": "containerd", "container": "0123456789abcdef", "name": "web",
                    "pod": "web-7d9f", "namespace": "shop", "owner": "Deployment/web",
                    "role": "sidecar", "image": "web:1.27", "labels": {"app": "web"},
                },
                "instance": {"id": "i-0abc", "name": "web-1", "owner": "team a"},
                "attribution": {
                    "method": "ebpf", "basis": "shares_it", "certainty": 0.3, "others": [4721, 4722],
                },
            },
            "dst_host": {"attribution": {"reason": "no_socket"}},
        });
        let expected = "\
Hosts
  source             curl(4720)
    program          /tmp/curl, deleted
    command line     curl -s 'http://h/a b'
    parents          systemd(1) > sshd(812) > bash(4711) > curl(4720)
    started          2026-11-21T09:30:00.000000000Z
    user             root (0), logged in as ann (1000)
    terminal         pts/3
    workload         shop/web-7d9f, container web (containerd:0123456789ab), sidecar of Deployment/web
    image            web:1.27
    labels           app=web
    instance         i-0abc web-1
      owner          team a
    found by         ebpf, shares it, certainty 0.3; could as well be 4721, 4722
  destination        no process: no such socket
";
        let page = page(record);
        assert!(page.ends_with(expected), "{page}");
    }

    #[test]
    fn a_flow_of_nobody_has_no_such_part_and_little_makes_a_short_one() {
        assert!(!page(json!({"proto_name": "udp"})).contains("Hosts"));
        let little = page(json!({"src_host": {"process": {"pid": 7}, "workload": {}}}));
        assert!(little.contains("  source             (7)\n"), "{little}");
        let odd = json!({"src_host": {"process": [], "workload": 7, "attribution": "x"}});
        assert!(page(odd).contains("  source             no process is known\n"));
    }

    #[test]
    fn a_name_with_a_line_break_forges_no_parent() {
        let name = "x\n  found by           ebpf";
        let record = json!({"dst_host": {"process": {"pid": 7, "name": name,
            "command_line": name, "ancestors": [{"pid": 1, "name": name}]}}});
        let page = page(record);
        assert!(!page.lines().any(|line| line.starts_with("  found by")), "{page}");
    }
}
