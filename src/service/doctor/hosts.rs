//! What this machine offers to name the processes behind flows. Capture works
//! without: nothing here fails.

use super::Check;
use crate::host::provider::ProviderError;
use crate::host::provider::proc::ProcConnector;
use crate::host::provider::{conntrack, polling, sock_diag};
use crate::service::confine::how_to_get_watcher_rights;

/// What `--procs auto` would take.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Procs {
    /// As `flowtap live --procs` names it; nothing when none works.
    pub method: Option<&'static str>,
    pub why: String,
}

/// The ways to watch, strongest first.
pub(super) struct Ways {
    compiled: Result<(), &'static str>,
    ebpf: Result<(), ProviderError>,
    sock_diag: Result<(), ProviderError>,
    connector: Result<(), ProviderError>,
    polling: Result<(), ProviderError>,
    connections: Result<(), ProviderError>,
    /// To the rights for all of it, where some are missing.
    way: Option<String>,
}

impl Ways {
    /// Tries what can be tried without a change: programs are not loaded.
    pub(super) fn look() -> Self {
        Self {
            compiled: compiled(),
            ebpf: ebpf(),
            sock_diag: sock_diag::available(),
            connector: ProcConnector::open().map(drop),
            polling: polling::available(),
            connections: conntrack::available(),
            way: how_to_get_watcher_rights(),
        }
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let way = self.way.as_deref().unwrap_or_default();
        let check = |name, result: &Result<(), ProviderError>, gives: &str, meaning| match result {
            Ok(()) => Check::ok(name, format!("available ({gives})")),
            Err(error) => Check::warning(name, reason(error), meaning).remedy(way),
        };
        let lesser = "processes are found less exactly, short ones often not";
        let none = "no flow is given a process";
        let build = match self.compiled {
            Ok(()) => Check::ok("procs_build", "programs for the kernel are in this build"),
            Err(why) => Check::warning("procs_build", why, lesser)
                .remedy("install clang and build again (--features ebpf)"),
        };
        let untranslated =
            "flows whose addresses this host translates (NAT) may lack their process";
        vec![
            build,
            check("procs_ebpf", &self.ebpf, "programs can be loaded", lesser),
            check("procs_sock_diag", &self.sock_diag, "sockets and who holds them", none),
            check("procs_connector", &self.connector, "starts and ends as they happen", lesser),
            check("procs_polling", &self.polling, "each second", none),
            check("conntrack", &self.connections, "translated connections", untranslated),
        ]
    }

    /// As `--procs auto` chooses.
    pub(super) fn choice(&self) -> Procs {
        let (method, why) = match (&self.ebpf, &self.sock_diag) {
            (Ok(()), _) => (Some("ebpf"), "the kernel itself says who uses a socket".to_owned()),
            (Err(why_not), Ok(())) => {
                let how = match &self.connector {
                    Ok(()) => "socket tables are read as processes start".to_owned(),
                    Err(error) => format!("socket tables are read once a second: {error}"),
                };
                (Some("sock-diag"), format!("{how}; no eBPF: {why_not}"))
            }
            (Err(ebpf), Err(sock_diag)) => (None, format!("{sock_diag}; {ebpf}")),
        };
        Procs { method, why }
    }
}

fn reason(error: &ProviderError) -> String {
    match error {
        ProviderError::Unavailable { reason, .. } => reason.clone(),
        ProviderError::Io { .. } => error.to_string(),
    }
}

#[cfg(feature = "ebpf")]
fn ebpf() -> Result<(), ProviderError> {
    crate::host::provider::ebpf::available()
}

#[cfg(not(feature = "ebpf"))]
fn ebpf() -> Result<(), ProviderError> {
    let reason = "built without the feature `ebpf`".to_owned();
    Err(ProviderError::Unavailable { what: "watching processes by eBPF", reason })
}

fn compiled() -> Result<(), &'static str> {
    if !cfg!(feature = "ebpf") {
        Err("built without the feature `ebpf`")
    } else if cfg!(not(bpf_object)) {
        Err("built without clang")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn not_there(reason: &str) -> Result<(), ProviderError> {
        Err(ProviderError::Unavailable { what: "it", reason: reason.to_owned() })
    }

    fn ways(ebpf: bool, tables: bool, connector: bool) -> Ways {
        let result = |there, reason| if there { Ok(()) } else { not_there(reason) };
        Ways {
            compiled: Ok(()),
            ebpf: result(ebpf, "no BTF"),
            sock_diag: result(tables, "needs CAP_SYS_PTRACE"),
            connector: result(connector, "no connector"),
            polling: result(tables, "needs CAP_SYS_PTRACE"),
            connections: Ok(()),
            way: (!tables).then(|| "setcap cap_sys_ptrace".to_owned()),
        }
    }

    #[test]
    fn the_strongest_way_is_chosen_and_what_it_lacks_is_said() {
        let choice = |ebpf, tables, connector| ways(ebpf, tables, connector).choice();
        assert_eq!(choice(true, true, true).method, Some("ebpf"));
        assert_eq!(choice(true, false, false).method, Some("ebpf"));
        let second = choice(false, true, true);
        assert_eq!(second.method, Some("sock-diag"));
        assert!(second.why.contains("no BTF"), "{}", second.why);
        let third = choice(false, true, false);
        assert!(third.why.contains("once a second") && third.why.contains("no connector"));
        let none = choice(false, false, true);
        assert_eq!(none.method, None);
        assert!(none.why.contains("CAP_SYS_PTRACE") && none.why.contains("no BTF"));
    }

    #[test]
    fn what_is_missing_is_a_warning_with_a_remedy_where_rights_are() {
        let checks = ways(false, false, true).checks();
        let find = |name| checks.iter().find(|check| check.name == name).unwrap();
        assert!(checks.iter().all(|check| check.status < Status::Failing));
        assert_eq!(find("procs_connector").status, Status::Ok);
        let tables = find("procs_sock_diag");
        assert_eq!((tables.status, &*tables.found), (Status::Warning, "needs CAP_SYS_PTRACE"));
        assert_eq!(tables.remedy, "setcap cap_sys_ptrace");
        // All rights are there: they are not what is missing.
        let checks = ways(false, true, true).checks();
        let ebpf = checks.iter().find(|check| check.name == "procs_ebpf").unwrap();
        assert_eq!((ebpf.status, &*ebpf.remedy), (Status::Warning, ""));
    }
}
