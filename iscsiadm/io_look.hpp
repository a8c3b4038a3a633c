// The list of sessions with the numbers of their units' I/O, for those who look again and again: `iscsiadm
// top` and iscsi-exporter, or once: `iscsiadm -m session -j`. It comes in pages (ipc/page.hpp), so that
// thousands of busy units are no answer too long, with a connection for each, as others than root have to.
// Blocking; any thread.
#pragma once

#include "base/result.hpp"
#include "ipc/snapshot.hpp"
#include "records/store.hpp"

#include <chrono>
#include <functional>
#include <vector>

namespace iscsi::adm {

/// `is_over`, if there is one, is asked every 50 ms while the answer is not there; true ends the look with
/// request_timed_out. Errors: those of Client::connect; request_timed_out when `patience` has passed between
/// a request and its answer, or six times that for all of them; daemon_communication; invalid (pages that
/// lead back).
base::Result<std::vector<ipc::SessionSnapshot>> look_at_io(const records::Paths& paths,
                                                           std::chrono::seconds patience,
                                                           const std::function<bool()>& is_over = {});

} // namespace iscsi::adm
