//! The parts of names that stay: of images without tags, of pods and their
//! owners without what Kubernetes generates.

/// What Kubernetes makes generated names of: no vowels, no digits like them.
const GENERATED: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Of a pod's own suffix.
const POD_SUFFIX_BYTES: usize = 5;

/// Containers that stand between a pod's main container and the network, or
/// serve it, by the names that their injectors give.
const SIDECARS: &[&str] = &[
    "cloud-sql-proxy",
    "consul-dataplane",
    "daprd",
    "envoy",
    "envoy-sidecar",
    "istio-proxy",
    "kuma-sidecar",
    "linkerd-proxy",
    "vault-agent",
];

pub(super) fn is_known_sidecar(name: &str) -> bool {
    SIDECARS.contains(&name)
}

/// `registry.example:5000/team/shop:1.2@sha256:...` to
/// `registry.example:5000/team/shop`. A bare digest is no name.
pub(super) fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rfind('/').map_or(0, |slash| slash + 1);
    let name = image[last..].find(':').map_or(image, |colon| &image[..last + colon]);
    if name == "sha256" { "" } else { name }
}

/// A pod's name without what a Deployment, a DaemonSet or a Job puts behind it,
/// as far as its form tells: `shop-5d8f7c9b6d-x2x9z` to `shop`.
pub(crate) fn without_generated_end(pod: &str) -> &str {
    match pod.rsplit_once('-') {
        Some((rest, end)) if end.len() == POD_SUFFIX_BYTES && is_generated(end) => {
            deployment_of(rest).or_else(|| cron_job_of(rest)).unwrap_or(rest)
        }
        // Of a StatefulSet: its number.
        Some((rest, end)) if !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => pod,
    }
}

/// `shop-5d8f7c9b6d` to `shop`: a ReplicaSet's name ends in a 32-bit hash, of
/// which each digit becomes a letter.
pub(super) fn deployment_of(replica_set: &str) -> Option<&str> {
    let (name, hash) = replica_set.rsplit_once('-')?;
    ((5..=10).contains(&hash.len()) && is_generated(hash) && !name.is_empty()).then_some(name)
}

/// `report-29012345` to `report`: minutes since 1970, in older versions seconds.
pub(super) fn cron_job_of(job: &str) -> Option<&str> {
    let (name, time) = job.rsplit_once('-')?;
    let is_time = matches!(time.len(), 8 | 10) && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && !name.is_empty()).then_some(name)
}

fn is_generated(text: &str) -> bool {
    text.bytes().all(|byte| GENERATED.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_images_name_has_neither_tag_nor_digest() {
        let cases = [
            ("shop", "shop"),
            ("shop:1.2", "shop"),
            ("registry.example:5000/team/shop", "registry.example:5000/team/shop"),
            ("registry.example:5000/team/shop:1.2@sha256:0a1b", "registry.example:5000/team/shop"),
            ("shop@sha256:0a1b", "shop"),
            ("sha256:0a1b", ""),
            ("", ""),
        ];
        for (image, name) in cases {
            assert_eq!(image_name(image), name, "{image}");
        }
    }

    #[test]
    fn a_pods_name_loses_only_what_was_generated() {
        let cases = [
            ("shop-5d8f7c9b6d-x2x9z", "shop"),
            ("node-agent-7k2lm", "node-agent"),
            ("report-29012345-q8w6z", "report"),
            ("db-0", "db"),
            ("db-12", "db"),
            // Vowels are never generated.
            ("web-front-audio", "web-front-audio"),
            ("web", "web"),
            ("", ""),
            ("-", "-"),
        ];
        for (pod, name) in cases {
            assert_eq!(without_generated_end(pod), name, "{pod}");
        }
    }

    #[test]
    fn owners_of_owners_are_told_by_their_suffix() {
        assert_eq!(deployment_of("shop-5d8f7c9b6d"), Some("shop"));
        assert_eq!(deployment_of("shop-canary"), None);
        assert_eq!(deployment_of("-5d8f7c9b6d"), None);
        assert_eq!(cron_job_of("report-29012345"), Some("report"));
        assert_eq!(cron_job_of("report-1"), None);
    }
}
