#include "exporter_server.hpp"

#include <fcntl.h>
#include <microhttpd.h>
#include <string_view>
#include <sys/socket.h>
#include <utility>

namespace iscsi::tools {
namespace {

constexpr unsigned connections_max = 16;
constexpr unsigned silence_max_s = 10;
constexpr std::size_t connection_bytes_max = std::size_t{16} * 1024;
constexpr std::chrono::seconds headers_time{10}; ///< until a request is there
constexpr std::chrono::seconds answer_time{60};  ///< from then on, until its answer was taken

MHD_Result answer(MHD_Connection* connection, unsigned status, const char* type, Scraper::Text text) {
    auto* kept = new Scraper::Text(std::move(text)); // until it was sent
    const auto drop = [](void* text_sent) { delete static_cast<Scraper::Text*>(text_sent); };
    MHD_Response* response = MHD_create_response_from_buffer_with_free_callback_cls(
        (*kept)->size(), const_cast<char*>((*kept)->data()), drop, kept);
    if (response == nullptr) {
        drop(kept);
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    const MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

MHD_Result answer(MHD_Connection* connection, unsigned status, const char* words) {
    return answer(connection, status, "text/plain; charset=utf-8",
                  std::make_shared<const std::string>(words));
}

MHD_Result answer_request(Scraper& scraper, MHD_Connection* connection, std::string_view url,
                          std::string_view method) {
    if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD) {
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET /metrics\n");
    }
    if (url != "/metrics") {
        return answer(connection, MHD_HTTP_NOT_FOUND, "GET /metrics\n");
    }
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", scraper.metrics());
}

/// Called once when the headers are there, again for each part of a body, and at the request's end.
MHD_Result on_request(void* its_server, MHD_Connection* connection, const char* url, const char* method,
                      const char* /*version*/, const char* /*body*/, std::size_t* body_bytes, void** state) {
    static char seen;
    auto& server = *static_cast<HttpServer*>(its_server);
    if (*state == nullptr) {
        *state = &seen;
        server.on_headers(connection);
        return MHD_YES;
    }
    if (*body_bytes != 0) {
        *body_bytes = 0; // not looked at
        return MHD_YES;
    }
    try {
        return answer_request(server.scraper(), connection, url, method);
    } catch (...) { // no memory: the library's C code closes the connection
        return MHD_NO;
    }
}

void on_notify(void* its_server, MHD_Connection* connection, void** /*state*/,
               MHD_ConnectionNotificationCode what) {
    try {
        static_cast<HttpServer*>(its_server)
            ->on_connection(connection, what == MHD_CONNECTION_NOTIFY_STARTED);
    } catch (...) { // no memory: it may not be silent for long all the same
    }
}

} // namespace

base::Result<std::unique_ptr<HttpServer>> HttpServer::start(Scraper& scraper, int listening) {
    const int own = ::fcntl(listening, F_DUPFD_CLOEXEC, 0); // the library closes it
    if (own < 0) {
        // Without one the library would listen at a port of its own choice, for everybody.
        return base::fail(base::Errc::internal, "no descriptor for the HTTP server");
    }
    std::unique_ptr<HttpServer> server(new HttpServer(scraper));
    server->daemon_ = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, nullptr, nullptr,
        &on_request, server.get(), MHD_OPTION_LISTEN_SOCKET, own, MHD_OPTION_CONNECTION_LIMIT,
        connections_max, MHD_OPTION_CONNECTION_TIMEOUT, silence_max_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        connection_bytes_max, MHD_OPTION_NOTIFY_CONNECTION, &on_notify, server.get(), MHD_OPTION_END);
    if (server->daemon_ == nullptr) {
        return base::fail(base::Errc::internal, "the HTTP server does not start");
    }
    return server;
}

HttpServer::~HttpServer() {
    if (daemon_ != nullptr) {
        MHD_stop_daemon(daemon_);
    }
}

/// The library says that one is closed before it closes the socket, so none of a number that is used again is
/// cut.
void HttpServer::on_connection(MHD_Connection* connection, bool is_new) {
    const std::lock_guard lock(mutex_);
    if (!is_new) {
        connections_.erase(connection);
        return;
    }
    const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != nullptr) {
        connections_.insert_or_assign(connection, Connection{info->connect_fd, Clock::now() + headers_time});
    }
}

void HttpServer::on_headers(MHD_Connection* connection) {
    const std::lock_guard lock(mutex_);
    if (const auto found = connections_.find(connection); found != connections_.end()) {
        found->second.end = Clock::now() + answer_time;
    }
}

void HttpServer::end_late() {
    const std::lock_guard lock(mutex_);
    for (const auto& [connection, one] : connections_) {
        if (one.end <= Clock::now()) {
            ::shutdown(one.fd, SHUT_RDWR);
        }
    }
}

} // namespace iscsi::tools
