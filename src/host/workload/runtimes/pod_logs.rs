//! The kubelet's names of log files: a last resort, they name pods and containers
//! whatever the runtime.

use crate::host::workload::Workload;
use crate::host::workload::cgroup::ContainerRef;
use crate::host::workload::files::Root;
use crate::host::workload::text::kept;

pub(super) fn read(root: &mut Root, container: &ContainerRef<'_>) -> Option<Workload> {
    let uid = container.pod_uid.as_deref().filter(|_| container.user.is_none())?;
    let workload = Workload {
        runtime: container.runtime.name().to_owned(),
        container: container.id.to_string(),
        pod_uid: uid.to_owned(),
        ..Workload::default()
    };
    // POD_NAMESPACE_CONTAINER-ID.log
    let end = format!("-{}.log", container.id);
    for name in root.names("var/log/containers") {
        let Some(name) = name.strip_suffix(&end) else { continue };
        if let [pod, namespace, name] = name.split('_').collect::<Vec<_>>()[..] {
            return Some(Workload {
                name: kept(name),
                pod: kept(pod),
                namespace: kept(namespace),
                ..workload
            });
        }
    }
    // NAMESPACE_POD_UID/CONTAINER
    let end = format!("_{uid}");
    let folder = root.names("var/log/pods").into_iter().find(|name| name.ends_with(&end))?;
    let (namespace, pod) = folder.strip_suffix(&end)?.split_once('_')?;
    let containers = root.names(&format!("var/log/pods/{folder}"));
    // Of several it could be any, or the sandbox. One alone may be the sandbox too,
    // which does nothing but wait.
    let name = match containers.as_slice() {
        [only] => kept(only),
        _ => String::new(),
    };
    Some(Workload { name, pod: kept(pod), namespace: kept(namespace), ..workload })
}
