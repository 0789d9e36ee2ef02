//! What the path of a control group says.

/// Path of a process's control group, out of `/proc/PID/cgroup`: the unified
/// hierarchy's, unless all processes are at its root because the older
/// hierarchies are the ones in use; then systemd's, or the first that says more
/// than the root.
pub fn control_group(text: &str) -> &str {
    let lines = || {
        text.lines().filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.split_once(':')
        })
    };
    let unified = lines().find(|(name, _)| name.is_empty());
    let systemd = lines().find(|(name, _)| *name == "name=systemd");
    [unified, systemd]
        .into_iter()
        .flatten()
        .chain(lines())
        .find(|(_, path)| *path != "/")
        .or(unified)
        .or(systemd)
        .map_or("", |(_, path)| path)
}

/// Unit of the host's service manager in a control group's path, also that
/// of a user's own manager: `nginx.service`, `session-3.scope`,
/// `user@1000.service/app-foo.scope`. Empty where there is none.
///
/// Names are as `systemctl` shows and takes them: the underscore that systemd puts before
/// names which would clash with the kernel's files is taken away; `\x2d` and the like belong to a
/// unit's name.
pub fn unit(cgroup: &str) -> String {
    let mut names = cgroup
        .split('/')
        .filter(|name| !name.is_empty())
        .map(|name| name.strip_prefix('_').unwrap_or(name))
        .skip_while(|name| name.ends_with(".slice"));
    let Some(outer) = names.next().filter(|name| is_unit(name)) else { return String::new() };
    if !(outer.starts_with("user@") && outer.ends_with(".service")) {
        return outer.to_owned();
    }
    match names.find(|name| !name.ends_with(".slice")).filter(|name| is_unit(name)) {
        Some(inner) => format!("{outer}/{inner}"),
        None => outer.to_owned(),
    }
}

/// Kinds of units that hold processes, slices apart.
fn is_unit(name: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|suffix| name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty()))
}

/// Digits of a container's full id: it is a SHA-256.
const ID_DIGITS: usize = 64;

/// Full id of the innermost container in a control group's path.
pub fn container_id(cgroup: &str) -> Option<&str> {
    cgroup.rsplit('/').find_map(|name| {
        name.split(|c: char| !c.is_ascii_hexdigit()).rev().find(|run| run.len() == ID_DIGITS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_hierarchy_in_use_names_the_group() {
        for (text, path) in [
            ("0::/system.slice/cron.service\n", "/system.slice/cron.service"),
            ("9:name=systemd:/user.slice\n4:memory:/x\n0::/\n", "/user.slice"),
            ("9:name=systemd:/\n4:memory:/docker/abc\n0::/\n", "/docker/abc"),
            ("4:memory:/\n1:name=systemd:/\n0::/\n", "/"),
            ("0::/with:colon\n", "/with:colon"),
            ("", ""),
            ("nonsense\n\n:\n", ""),
        ] {
            assert_eq!(control_group(text), path, "{text:?}");
        }
    }

    #[test]
    fn units_are_found_below_any_slices() {
        for (path, name) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.scope",
                "user@1000.service/app-foo.scope",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/\
                 app-gnome\\x2dterminal.slice/vte-spawn-1.scope",
                "user@1000.service/vte-spawn-1.scope",
            ),
            ("/user.slice/user-0.slice/user@0.service/init.scope", "user@0.service/init.scope"),
            ("/system.slice/_tasks.service", "tasks.service"),
            ("/system.slice/docker-1.scope/system.slice/inner.service", "docker-1.scope"),
            ("/system.slice/nginx.service/worker", "nginx.service"),
            ("/init.scope", "init.scope"),
            ("/docker/0123", ""),
            ("/system.slice", ""),
            ("/system.slice/.service", ""),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(unit(path), name, "{path:?}");
        }
    }

    #[test]
    fn the_innermost_full_id_is_the_container() {
        let inner = ID.replace('0', "f");
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{inner}/docker/{ID}"),
            format!("/kubepods.slice/cri-containerd-{ID}.scope/init"),
        ] {
            assert_eq!(container_id(&path), Some(ID), "{path}");
        }
        let short = &ID[1..];
        for path in ["/", "", short, &format!("{ID}0"), "/system.slice/cron.service"] {
            assert_eq!(container_id(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[/a-f0-9.:_@\\PC\n]{0,300}") {
            let path = control_group(&text);
            let _ = (unit(path), container_id(path));
        }
    }
}
