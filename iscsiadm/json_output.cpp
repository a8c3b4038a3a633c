#include "json_output.hpp"

#include "base/text.hpp"
#include "ipc/describe.hpp"
#include "messages.hpp"
#include "records/text.hpp"

#include <optional>

namespace iscsi::adm {
namespace {

constexpr int document_version = 1;

std::optional<ipc::Json>& document() {
    static std::optional<ipc::Json> object;
    return object;
}

template <class T>
ipc::Json described(const T& value) {
    ipc::JsonWriter writer;
    describe(writer, value);
    return ipc::Json::parse(writer.text());
}

} // namespace

void begin_json() {
    document() = ipc::Json::object();
}

bool is_json() {
    return document().has_value();
}

void leave_json() {
    document().reset();
}

void add_message(std::string_view line) {
    add_json("messages", std::string(line));
}

void begin_list(std::string_view list) {
    if (document()) {
        (*document())[std::string(list)] = ipc::Json::array();
    }
}

void add_json(std::string_view list, ipc::Json entry) {
    if (document()) {
        (*document())[std::string(list)].push_back(std::move(entry));
    }
}

void add_action(std::string_view action, ipc::Json subject, const base::Error* error) {
    subject["action"] = std::string(action);
    subject["exit_code"] = error == nullptr ? exit_ok : exit_of(error->code);
    subject["error"] = error == nullptr ? "" : std::string(base::text(error->code));
    subject["detail"] = error == nullptr ? "" : error->detail;
    add_json("actions", std::move(subject));
}

void finish_json(int exit_code) {
    if (!document()) {
        return;
    }
    ipc::Json object = std::move(*document());
    leave_json();
    object["version"] = document_version;
    object["exit_code"] = exit_code;
    object["error"] = exit_code == exit_ok ? "" : std::string(base::text(static_cast<base::Errc>(exit_code)));
    say("{}\n", ipc::text_of(object));
}

ipc::Json json_of(const records::NodeId& node) {
    return {{"target", node.target},
            {"address", node.portal.address},
            {"port", node.portal.port},
            {"tpgt", node.portal.tpgt},
            {"iface", node.iface}};
}

ipc::Json json_of_name(std::string_view name) {
    return {{"name", std::string(name)}};
}

ipc::Json values_of(const records::Record& record, bool show_secrets) {
    ipc::Json values = ipc::Json::object();
    for (const records::Field& row : records::fields()) {
        if (!record.prints(row)) {
            continue;
        }
        const std::string& value = record.text(row.key);
        bool masked = !show_secrets && records::is_masked(row, value);
        values[std::string(row.name)] = masked ? ipc::Json(nullptr) : ipc::Json(value);
    }
    return values;
}

ipc::Json json_of(const ipc::SessionSnapshot& session, bool show_secrets) {
    ipc::Json object = described(session);
    using records::Key;
    for (const auto& [name, key] :
         {std::pair("password", Key::session_password), std::pair("password_in", Key::session_password_in)}) {
        ipc::Json& value = object["chap"][name];
        if (!show_secrets && records::is_masked(records::field(key), value.get<std::string>())) {
            value = nullptr;
        }
    }
    return object;
}

ipc::Json json_of_title(const ipc::SessionSnapshot& session) {
    return {{"sid", session.sid},
            {"target", session.target},
            {"address", session.persistent.address},
            {"port", session.persistent.port}};
}

ipc::Json json_of(const ipc::AttachedLun& lun) {
    return described(lun);
}

ipc::Json json_of_discovery(const records::Record& discovery) {
    records::Portal portal = discovery_portal(discovery);
    return {{"type", discovery.kind() == records::RecordKind::isns ? "isns" : "sendtargets"},
            {"address", portal.address},
            {"port", portal.port}};
}

} // namespace iscsi::adm
