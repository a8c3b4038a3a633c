#include "exporter_scraper.hpp"

#include "base/text.hpp"
#include "exporter_families.hpp"
#include "io_look.hpp"

#include <chrono>
#include <cstdio>
#include <utility>

namespace iscsi::tools {
namespace {

constexpr std::chrono::seconds patience{5};

} // namespace

Scraper::Text Scraper::metrics() {
    std::unique_lock lock(mutex_);
    if (running_) {
        const std::shared_future<Text> result = *running_;
        lock.unlock();
        return result.get();
    }
    std::packaged_task<Text()> task([this] { return scrape(); });
    const std::shared_future<Text> result = task.get_future().share();
    running_ = result;
    lock.unlock();
    task();
    lock.lock();
    running_.reset();
    lock.unlock();
    return result.get();
}

Scraper::Text Scraper::scrape() {
    auto sessions = adm::look_at_io(paths_, patience);
    const std::string trouble = sessions ? std::string() : sessions.error().message();
    if (trouble != trouble_) {
        std::fprintf(stderr, "iscsi-exporter: %s\n",
                     trouble.empty() ? "iscsid answers again" : base::printable(trouble).c_str());
        trouble_ = trouble;
    }
    std::optional<std::vector<ipc::SessionSnapshot>> known;
    if (sessions) {
        known = std::move(*sessions);
    }
    return std::make_shared<const std::string>(metrics_text(known));
}

} // namespace iscsi::tools
