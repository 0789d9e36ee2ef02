//! Whether a person could sit behind a process.
//!
//! The rule, first match first:
//! 1. A pseudo-terminal (`pts/3`) is its controlling terminal: `Terminal`, also
//!    when that terminal is a window of a graphical session.
//! 2. `DISPLAY` or `WAYLAND_DISPLAY` is set, and it is in an application's or the
//!    session's own group of a user's service manager, or its parent is a
//!    program that starts graphical sessions: `Gui`. Also display servers.
//! 3. Another controlling terminal (`tty1`, `ttyS0`): `Terminal`.
//! 4. Else `None`.
//!
//! The environment is the process's own word: a service can claim a display,
//! so that alone decides nothing.

use crate::host::process::{Context, Process};

/// Display servers, and programs that start others on a screen. As the kernel
/// has names: at most 15 bytes.
const GRAPHICAL: &[&str] = &[
    "Xorg",
    "Xwayland",
    "Xvnc",
    "X",
    "gnome-shell",
    "gnome-session-b",
    "gdm-x-session",
    "gdm-wayland-ses",
    "gdm-session-wor",
    "sddm-helper",
    "lightdm",
    "kwin_wayland",
    "kwin_x11",
    "plasmashell",
    "ksmserver",
    "startplasma-x11",
    "startplasma-way",
    "xfce4-session",
    "xfwm4",
    "xfce4-panel",
    "xfdesktop",
    "cinnamon",
    "cinnamon-sessio",
    "mate-session",
    "mate-panel",
    "lxsession",
    "lxqt-session",
    "openbox",
    "i3",
    "sway",
    "Hyprland",
    "weston",
    "xinit",
    "budgie-panel",
];

pub(super) fn is_graphical_program(name: &str) -> bool {
    GRAPHICAL.contains(&name)
}

/// What takes another look at `/proc`: asked only where it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    HasDisplay,
    HasGraphicalParent,
}

pub(super) fn context(process: &Process, mut ask: impl FnMut(Question) -> bool) -> Context {
    if process.terminal.starts_with("pts/") {
        return Context::Terminal;
    }
    // Services of the host are started by its service manager, not from a screen.
    let could_be = !process.unit.ends_with(".service") || in_desktop_group(&process.cgroup);
    let graphical = is_graphical_program(&process.name)
        || could_be
            && (in_desktop_group(&process.cgroup) || ask(Question::HasGraphicalParent))
            && ask(Question::HasDisplay);
    match (graphical, process.terminal.is_empty()) {
        (true, _) => Context::Gui,
        (false, false) => Context::Terminal,
        (false, true) => Context::None,
    }
}

/// `app.slice` and `session.slice` of a user's manager: systemd's "desktop
/// environments" convention. `background.slice` is not for what shows windows.
fn in_desktop_group(cgroup: &str) -> bool {
    let Some((_, below)) = cgroup.split_once("/user@") else { return false };
    let Some((_, below)) = below.split_once(".service/") else { return false };
    below.starts_with("app.slice/") || below.starts_with("session.slice/")
}

/// A display is named in `environ`, variables that end in NUL.
pub(super) fn names_display(environ: &[u8]) -> bool {
    environ.split(|&byte| byte == 0).any(|variable| {
        ["DISPLAY=", "WAYLAND_DISPLAY="].iter().any(|name| {
            variable.strip_prefix(name.as_bytes()).is_some_and(|value| !value.is_empty())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, terminal: &str, cgroup: &str) -> Process {
        Process {
            name: name.to_owned(),
            terminal: terminal.to_owned(),
            cgroup: cgroup.to_owned(),
            unit: crate::host::provider::proc::unit(cgroup),
            ..Process::default()
        }
    }

    #[test]
    fn screens_terminals_and_services_are_told_apart() {
        let app = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1.scope";
        let service = "/system.slice/cron.service";
        let background = "/user.slice/user-1000.slice/user@1000.service/background.slice/x.service";
        for (name, terminal, cgroup, parent, display, expected) in [
            ("firefox", "", app, "systemd", true, Context::Gui),
            ("syncthing", "", app, "systemd", false, Context::None),
            ("bash", "pts/0", app, "gnome-terminal-", true, Context::Terminal),
            (
                "firefox",
                "",
                "/user.slice/user-1000.slice/session-2.scope",
                "xfce4-session",
                true,
                Context::Gui,
            ),
            (
                "xterm",
                "tty1",
                "/user.slice/user-1000.slice/session-2.scope",
                "xinit",
                true,
                Context::Gui,
            ),
            ("Xorg", "tty2", service, "gdm-x-session", false, Context::Gui),
            ("bash", "tty1", service, "login", false, Context::Terminal),
            ("miner", "", service, "cron", true, Context::None),
            ("indexer", "", background, "systemd", true, Context::None),
        ] {
            let found = context(&process(name, terminal, cgroup), |question| match question {
                Question::HasDisplay => display,
                Question::HasGraphicalParent => is_graphical_program(parent),
            });
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn only_a_whole_variable_names_a_display() {
        assert!(names_display(b"HOME=/\0DISPLAY=:0\0"));
        assert!(names_display(b"WAYLAND_DISPLAY=wayland-0"));
        assert!(!names_display(b"XDISPLAY=:0\0DISPLAY=\0A=DISPLAY=:0"));
    }
}
