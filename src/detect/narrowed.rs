//! Lists by which people who know ATT&CK narrow an analytic to what they mean: whose
//! balancers' logs count (LBProjects), whose images (ImageName). Empty lists narrow
//! nothing.

use super::analytic::Event;
use super::{DetectSettings, Finding, classes};
use crate::alert::Severity;
use crate::telemetry::label;

/// A request that a log says to be of a project (Google) that is not listed: no detector
/// sees it. Logs that name none count always: they are of whoever gave them.
pub(super) fn is_of_another_project(event: &Event<'_>, settings: &DetectSettings) -> bool {
    let Event::Request { request, .. } = event else { return false };
    let listed = &settings.lb_projects;
    let mut projects = request.labels.iter().filter(|(name, _)| &**name == label::ACCOUNT);
    !listed.is_empty()
        && projects.any(|(_, project)| listed.iter().all(|listed| **listed != **project))
}

/// What a container of an image that is not listed does is told (AN0083), but is nothing
/// to get up for.
pub(super) fn by_image(finding: &mut Finding, settings: &DetectSettings) {
    if settings.image_name.is_empty() {
        return;
    }
    let Some(case) = &mut finding.case else { return };
    // What is another analytic's as well is so whatever the image.
    let mut analytics = case.analytics.iter().chain(&case.possible_analytics).peekable();
    let is_about_containers = analytics.peek().is_some() && analytics.all(|&name| name == "AN0083");
    let Some(workload) = case.workload.as_ref().filter(|_| is_about_containers) else { return };
    if workload.image.is_empty() || classes::matches(&settings.image_name, &workload.image) {
        return;
    }
    case.severity_reason = format!(
        "Informational: the image {} is not in image_name; by itself {} ({})",
        workload.image,
        case.severity.name(),
        case.severity_reason
    );
    case.severity = Severity::Informational;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alert::{Case, Entity, EntityKind, Score};
    use crate::detect::analytic::Source;
    use crate::detect::{Family, Rule, Subject};
    use crate::host::execs::Served;
    use crate::host::workload::Workload;
    use crate::telemetry::request::Request;

    fn request(project: Option<&str>) -> Request {
        let label = |project: &str| (label::ACCOUNT.into(), project.into());
        Request { labels: project.map(label).into_iter().collect(), ..Request::default() }
    }

    #[test]
    fn logs_of_projects_that_are_not_listed_do_not_count() {
        let source = Source { name: "log".into(), kind: "gcp_lb", lateness_ns: 0 };
        let left_out = |lb_projects: &[&str], project: Option<&str>| {
            let lb_projects = lb_projects.iter().map(|&name| name.to_owned()).collect();
            let settings = DetectSettings { lb_projects, ..DetectSettings::default() };
            let request = request(project);
            let served = Served::of_log(&request);
            let event = Event::Request { source: &source, request: &request, served: &served };
            is_of_another_project(&event, &settings)
        };
        assert!(!left_out(&[], Some("shop")), "all count by default");
        assert!(!left_out(&["shop", "web"], Some("web")));
        assert!(left_out(&["shop"], Some("lab")));
        assert!(!left_out(&["shop"], None), "a log that names no project");
    }

    #[test]
    fn what_other_images_do_is_informational() {
        let severity = |image_name: &[&str], analytic: &'static str| {
            let image_name = image_name.iter().map(|&name| name.to_owned()).collect();
            let settings = DetectSettings { image_name, ..DetectSettings::default() };
            let mut case = Case::new(Score::of(Vec::new(), 0.0));
            let workload = Workload { image: "shop/api:1".to_owned(), ..Workload::default() };
            (case.severity, case.workload) = (Severity::High, Some(Arc::new(workload)));
            case.analytics = analytic.split(' ').collect();
            let entity = Entity::new(EntityKind::Workload, "w".to_owned());
            let subject = Subject::Entity(1);
            let mut finding =
                Finding::new("relay", Family::Case("relay"), 0, subject, entity, Rule::NONE);
            finding.case = Some(Box::new(case));
            by_image(&mut finding, &settings);
            finding.case.map(|case| case.severity)
        };
        assert_eq!(severity(&[], "AN0083"), Some(Severity::High));
        assert_eq!(severity(&["shop/*"], "AN0083"), Some(Severity::High));
        assert_eq!(severity(&["web/*"], "AN0083"), Some(Severity::Informational));
        for others in ["AN0031", "AN0083 AN0972"] {
            assert_eq!(severity(&["web/*"], others), Some(Severity::High), "{others}");
        }
    }
}
