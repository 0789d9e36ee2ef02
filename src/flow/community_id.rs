//! Community ID v1 (github.com/corelight/community-id-spec).
