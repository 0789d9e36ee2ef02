//! `flowtap alerts mark`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::told::{Before, Case, Told};
use super::{draft, verdicts};
use crate::baseline::{
    self, BaselineSettings, Baselines, Judged, StoreError, Word, inbox_path, leave,
};
use crate::cli::{Usage, baseline_args, packets, records, rundir};
use crate::detect::DetectSettings;
use crate::report::detail;
use crate::time::rfc3339;

/// Say what an alert was. Of `false` and `expected` draft `[[allow]]` entries are printed; nobody
/// puts them in force but you.
#[derive(Debug, Args)]
pub(crate) struct MarkArgs {
    /// The alert's id, or the start of it.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// `true`: an attack; `false`: none; `expected`: it is what it looks like, and meant to be.
    #[arg(value_enum)]
    verdict: Verdict,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// Who says so [default: who runs this].
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Tell these baselines too: what was false or expected is learned, what was true never is.
    #[arg(long, value_name = "PATH")]
    baseline: Option<PathBuf>,
    /// Run directory; the newest run by default.
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Print verdict and draft as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verdict {
    True,
    False,
    Expected,
}

impl From<Verdict> for baseline::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::True => Self::True,
            Verdict::False => Self::False,
            Verdict::Expected => Self::Expected,
        }
    }
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Expected => "expected",
        }
    }
}

pub(super) fn run(args: &MarkArgs) -> anyhow::Result<ExitCode> {
    let why = args.why.trim();
    if why.is_empty() {
        return Err(Usage("--why: say why, for who reads it later".to_owned()).into());
    }
    let dir = rundir::find(args.run.as_deref())?;
    let alert = records::alert(&dir, &args.id)?;
    let by = args.by.clone().unwrap_or_else(user);
    let now = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let mut verdict = json!({
        "alert": alert["id"], "verdict": args.verdict.name(), "why": why, "by": by,
        "at": rfc3339(now), "revision": alert["revision"], "detector": alert["detector"],
        "entity": alert["entity"]["id"], "baseline_key": alert["case"]["baseline_key"],
        "start": alert["start"], "end": alert["end"],
    });
    let told = args.tell_baselines(&dir, &alert, now)?;
    if let Some(told) = told.as_ref().filter(|told| !told.record.is_null()) {
        verdict["baseline"] = told.record.clone();
    }
    let learned = told.map(|told| told.text);
    verdicts::add(&dir, &verdict)?;
    let pseudonyms = packets::run_record(&dir)?["pseudonyms"] == true;
    let draft = match args.verdict {
        Verdict::True => None,
        Verdict::False | Verdict::Expected => {
            let parts = parts(&dir, &alert)?;
            let act = draft::Act { alert, parts };
            Some(draft::entries(&act, why, &by, now, pseudonyms)?)
        }
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(
            out,
            "{}",
            detail::json(&json!({
                "verdict": verdict, "draft": draft, "baseline": learned,
            }))
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let id = verdict["alert"].as_str().unwrap_or_default();
    let said = format!("# Alert {id} is marked {} by {by}.", args.verdict.name());
    writeln!(out, "{}", detail::printable(&said).replace('\n', " "))?;
    if let Some(learned) = learned {
        writeln!(out, "# {}", detail::printable(&learned).replace('\n', " "))?;
    }
    if let Some(draft) = draft {
        write!(out, "{draft}")?;
    }
    Ok(ExitCode::SUCCESS)
}

impl MarkArgs {
    /// What became of the minutes that waited for the verdict, where it is for baselines. One on
    /// an alert is one on those that it stands for.
    fn tell_baselines(
        &self,
        dir: &Path,
        alert: &Value,
        now_ns: i64,
    ) -> anyhow::Result<Option<Told>> {
        let Some(path) = &self.baseline else { return Ok(None) };
        let now_s = now_ns.div_euclid(1_000_000_000);
        // The alert itself last: what waits then waits for others.
        let mut words = Vec::new();
        for one in parts(dir, alert)?.iter().chain([alert]) {
            words.extend(word(one, self.verdict.into(), now_s)?);
        }
        let Some(key) = words.last().map(|word| word.key.clone()) else {
            return Ok(Some(Told::nobody(
                "No baseline is concerned: the alert is held against none.",
            )));
        };
        if !path.exists() {
            let why = format!("{}: there are no baselines yet: learn some first", path.display());
            return Err(Usage(why).into());
        }
        let settings = BaselineSettings::from(&DetectSettings::default());
        let mut baselines = match Baselines::open(path, settings, true) {
            Ok(baselines) => baselines,
            Err(StoreError::InUse(_)) => {
                let place = inbox_path(path);
                for word in &words {
                    leave(path, word).with_context(|| place.display().to_string())?;
                }
                return Ok(Some(Told::left(path, &place, &key)));
            }
            Err(error) => return Err(baseline_args::opening(error)),
        };
        // They explain alone: of a file that can't be read nothing is said.
        let id = alert["id"].as_str().unwrap_or_default();
        let earlier = &verdicts::of_alert(dir, id).unwrap_or_default();
        let case = Case { alert, earlier, key: &key, path, pending_days: settings.pending_days };
        let before = Before::of(&baselines, &key);
        let mut judged = None::<Judged>;
        for word in &words {
            let now = baselines.judge(word);
            judged = Some(judged.map_or(now, |before| before.and(now)));
        }
        anyhow::ensure!(baselines.flush(), "{} could not be written", path.display());
        baseline_args::tell(&mut baselines);
        Ok(judged.map(|judged| case.told(judged, &before)))
    }
}

/// What a verdict on an alert says of its minutes; nothing where it is about nobody that
/// anything is learned of, or the run no longer has when it was.
fn word(alert: &Value, verdict: baseline::Verdict, at_s: i64) -> anyhow::Result<Option<Word>> {
    let entity = &alert["entity"];
    // A flood is held against no baseline, and whom it is about is not learned either.
    let of_address = || {
        let id = entity["id"].as_str().filter(|_| entity["kind"] == "address")?;
        Some(format!("address:{id}"))
    };
    let key = alert["case"]["baseline_key"].as_str().map(str::to_owned).or_else(of_address);
    let (Some(key), true) = (key, alert["end"].is_string()) else { return Ok(None) };
    let seconds = |field: &str| -> anyhow::Result<i64> {
        Ok(packets::time_of(&alert[field])?.div_euclid(1_000_000_000))
    };
    let (from_s, until_s) = (seconds("start")?, seconds("end")?);
    let alert = alert["id"].as_str().map(str::to_owned);
    Ok(Some(Word { key, alert, from_s, until_s, verdict, at_s }))
}

/// The alerts that it stood for; those that the run no longer has by what it says of them.
fn parts(dir: &Path, alert: &Value) -> anyhow::Result<Vec<Value>> {
    let parts = alert["parts"].as_array().into_iter().flatten();
    let whole = |part: &Value| -> anyhow::Result<Value> {
        let id = part["id"].as_str().unwrap_or_default();
        let found = if id.is_empty() { None } else { records::alert_if_any(dir, id)? };
        Ok(found.unwrap_or_else(|| part.clone()))
    };
    parts.map(whole).collect()
}

/// Who runs this, root's real self first.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| {
        std::env::var(name).ok().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
    });
    named.unwrap_or_else(|| {
        #[cfg(unix)]
        return format!("uid {}", rustix::process::getuid().as_raw());
        #[cfg(not(unix))]
        return "unknown".to_owned();
    })
}
