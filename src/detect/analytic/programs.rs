//! Which programs a process and its parents are, by the lists of the settings.

use crate::host::process::{Process, ProcessId};
use crate::host::side::ProcessView;

/// Name of a file without its folder.
pub(super) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether a listed program is this one: a path by the whole path; a name by the file's
/// or the process's, with or without a version behind it (`python3.11`, `php-fpm8.2`).
pub(super) fn is_program(listed: &str, name: &str, exe: &str) -> bool {
    if listed.contains('/') {
        return listed == exe;
    }
    // The kernel keeps 15 bytes of a name.
    let short = listed.get(..15).unwrap_or(listed);
    is_version_of(listed, base(exe)) || is_version_of(listed, name) || short == name
}

fn is_version_of(listed: &str, actual: &str) -> bool {
    let is_version = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    !listed.is_empty() && actual.strip_prefix(listed).is_some_and(is_version)
}

pub(super) fn is_one_of(list: &[String], name: &str, exe: &str) -> bool {
    list.iter().any(|listed| is_program(listed, name, exe))
}

/// A process above another, or itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Above<'a> {
    pub id: ProcessId,
    pub name: &'a str,
    pub exe: &'a str,
}

/// From the process's parent up.
pub(super) fn above(view: &ProcessView) -> impl Iterator<Item = Above<'_>> {
    view.ancestors.iter().map(|parent| Above {
        id: parent.id,
        name: &parent.name,
        exe: &parent.exe,
    })
}

/// The nearest service that the process is or descends from; of a worker, which comes
/// and goes, the one that started it.
pub(super) fn service_of<'a>(
    view: &'a ProcessView,
    is_service: impl Fn(&Above<'_>) -> bool,
) -> Option<Above<'a>> {
    let Process { id, name, exe, .. } = &view.process;
    let own = Above { id: *id, name, exe };
    let mut line = [own].into_iter().chain(above(view)).skip_while(|one| !is_service(one));
    let nearest = line.next()?;
    Some(line.take_while(|one| is_service(one)).last().unwrap_or(nearest))
}

/// What a shell was told to run by `-c`, where that is one plain command.
pub(super) fn plain_command(args: &[String]) -> Option<&str> {
    let at = args.iter().position(|arg| arg == "-c")?;
    let command = args.get(at + 1)?.trim();
    let is_plain = !command.contains(|letter: char| ";|&$`<>(){}\n\\".contains(letter));
    is_plain.then(|| command.split_whitespace().next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_known_by_name_version_and_path() {
        assert!(is_program("python", "python3", "/usr/bin/python3.11"));
        assert!(is_program("php-fpm", "php-fpm8.2", "/usr/sbin/php-fpm8.2"));
        assert!(is_program("sh", "sh", "/bin/busybox"));
        assert!(!is_program("sh", "ssh", "/usr/bin/ssh"));
        assert!(!is_program("nc", "ncal", "/usr/bin/ncal"));
        assert!(is_program("/usr/bin/nc", "x", "/usr/bin/nc"));
        assert!(!is_program("/usr/bin/nc", "nc", "/tmp/nc"));
        assert!(is_program("a-very-long-program-name", "a-very-long-pro", ""));
    }

    #[test]
    fn only_one_plain_command_is_named() {
        let args = |command: &str| ["sh", "-c", command].map(str::to_owned);
        assert_eq!(plain_command(&args("/usr/bin/convert a b")), Some("/usr/bin/convert"));
        for several in ["convert a; id", "convert `id`", "convert $(id)", "convert a | sh", ""] {
            assert_eq!(plain_command(&args(several)), None, "{several}");
        }
        assert_eq!(plain_command(&["sh".to_owned()]), None);
    }
}
