// iscsi-exporter's HTTP side, which is libmicrohttpd's: GET /metrics at a socket that listens. Each
// connection has a thread of the library's and is for one request; there are few, none may be silent for
// long, send much, or take long for it all. end_late() and the library's threads have the list of them under
// a mutex.
#pragma once

#include "base/result.hpp"
#include "exporter_scraper.hpp"

#include <chrono>
#include <map>
#include <memory>
#include <mutex>

struct MHD_Connection;
struct MHD_Daemon;

namespace iscsi::tools {

class HttpServer {
public:
    /// Serves `listening`, which stays its owner's, until it is destroyed: that waits for the scrape that is
    /// in progress. `scraper` outlives it. Errors: internal.
    static base::Result<std::unique_ptr<HttpServer>> start(Scraper& scraper, int listening);
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer();

    /// Cuts connections whose time is over: somebody who sends, or reads, a byte now and then is never
    /// silent. To be called every few seconds; any thread.
    void end_late();

    // For the library's callbacks.
    void on_connection(MHD_Connection* connection, bool is_new);
    void on_headers(MHD_Connection* connection);
    Scraper& scraper() { return scraper_; }

private:
    using Clock = std::chrono::steady_clock;

    struct Connection {
        int fd;
        Clock::time_point end;
    };

    explicit HttpServer(Scraper& scraper) : scraper_(scraper) {}

    Scraper& scraper_;
    std::mutex mutex_;
    std::map<MHD_Connection*, Connection> connections_; ///< below the mutex
    MHD_Daemon* daemon_ = nullptr;
};

} // namespace iscsi::tools
