// Asks iscsid for its sessions when somebody scrapes. Any thread; who asks while an answer is on its way gets
// that one, so that the daemon is asked by one connection at a time however many ask here.
#pragma once

#include "records/paths.hpp"

#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace iscsi::tools {

class Scraper {
public:
    using Text = std::shared_ptr<const std::string>;

    explicit Scraper(records::Paths paths) : paths_(std::move(paths)) {}

    /// Blocks until iscsid has answered, for 5 s at most to connect and 5 s for the answer; without one the
    /// text says that it is not up.
    Text metrics();

private:
    Text scrape();

    const records::Paths paths_;
    std::mutex mutex_;
    std::optional<std::shared_future<Text>> running_; ///< below the mutex
    std::string trouble_; ///< why the last scrape had no answer; empty: it had one. By whoever scrapes
};

} // namespace iscsi::tools
