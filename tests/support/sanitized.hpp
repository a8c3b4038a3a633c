// Whether this build is one of the slow ones with a sanitizer, which is also another malloc() and makes
// mlockall() do nothing.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ISCSI_TEST_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ISCSI_TEST_SANITIZED true
#endif
#endif
#ifndef ISCSI_TEST_SANITIZED
#define ISCSI_TEST_SANITIZED false
#endif

namespace iscsi::test {

inline constexpr bool sanitized = ISCSI_TEST_SANITIZED;

} // namespace iscsi::test
