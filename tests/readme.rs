//! The README's commands run and print what it says they print.
//!
//! Every `console` block is a session: lines with `$ ` are commands, run by
//! bash at the top of the project; the lines after one are its output. A line
//! `...` stands for any number of lines; how long reading took may differ.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

struct Step {
    command: String,
    output: Vec<String>,
}

fn steps(readme: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if inside {
            if let Some(command) = line.strip_prefix("$ ") {
                steps.push(Step { command: command.to_owned(), output: Vec::new() });
            } else if let Some(step) = steps.last_mut() {
                step.output.push(line.to_owned());
            }
        }
    }
    steps
}

/// The same line, or both say how long reading took.
fn fits(expected: &str, actual: &str) -> bool {
    let times = [expected, actual].iter().all(|line| line.starts_with("read in "));
    times || expected == actual
}

fn matches(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=actual.len()).any(|skipped| matches(rest, &actual[skipped..]))
        }
        Some((first, rest)) => actual
            .split_first()
            .is_some_and(|(line, others)| fits(first, line) && matches(rest, others)),
    }
}

#[test]
fn every_command_of_the_readme_runs_and_prints_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let steps = steps(&readme);
    assert!(steps.len() >= 5, "the README has lost its tour");
    let binary = Path::new(env!("CARGO_BIN_EXE_flowtap"));
    let folder = binary.parent().expect("the binary is in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let state = tempfile::tempdir().expect("a temporary folder");
    std::fs::create_dir_all(root.join("runs")).expect("runs/");
    for step in steps {
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &step.command])
            .current_dir(root)
            .env("PATH", &path)
            .env("XDG_STATE_HOME", state.path())
            .output()
            .expect("bash starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "$ {}\n{said}{complained}", step.command);
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert!(
            matches(&step.output, &lines),
            "$ {}\nthe README says:\n{}\nit prints:\n{said}{complained}",
            step.command,
            step.output.join("\n")
        );
    }
}
