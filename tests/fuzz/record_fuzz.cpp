// A record file of any content. The first byte says of which kind it is taken to be. What was read is written
// and read again as the same; what is shown to people has no secret in it.
#include "fuzz.hpp"

#include "base/limits.hpp"
#include "records/secret_reference.hpp"
#include "records/text.hpp"

using namespace iscsi;
using namespace iscsi::records;
using iscsi::test::require;

namespace {

constexpr RecordKind kinds[] = {RecordKind::node, RecordKind::send_targets, RecordKind::isns,
                                RecordKind::iface, RecordKind::daemon};

void check_display(const Record& record) {
    Warnings warnings;
    bool shown = false;
    for_each_line(display_text(record, false), "", warnings, [&](const Line& line) {
        const Field* row = find_field(record.kind(), line.key);
        bool is_hidden = line.value == "********" || line.value == "<empty>" || secret_reference(line.value);
        shown = shown || (row != nullptr && row->has(secret) && !is_hidden);
    });
    require(!shown);
}

/// A file leaves out a key without a value, and so what is empty comes back as the compiled default.
void check_values(const Record& record, const Record& again) {
    for (const Field& row : fields()) {
        if (row.applies_to(record.kind()) && !record.text(row.key).empty()) {
            require(again.text(row.key) == record.text(row.key));
        }
    }
    require(again.unknown() == record.unknown());
    require(again.kept() == record.kept());
    for (const Field& row : fields()) {
        const std::string* refused = record.refused(row.key);
        require((refused == nullptr) == (again.refused(row.key) == nullptr));
        require(refused == nullptr || *refused == *again.refused(row.key));
    }
}

/// The names of files in the database, which may be anybody's.
void check_file_name_of_portal(std::string_view name) {
    auto portal = parse_portal_file_name(name);
    if (portal) {
        bool tagged = portal->tpgt != tpgt_unknown;
        auto again =
            parse_portal_file_name(tagged ? tagged_portal_file_name(*portal) : portal_file_name(*portal));
        require(again && *again == *portal);
    }
}

Record read_again(const Record& record) {
    Warnings none;
    Record again = parse_record(record.kind(), file_text(record), "source", none);
    require(none.empty());
    return again;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    RecordKind kind = kinds[data[0] % std::size(kinds)];
    Warnings warnings;
    std::string_view text = iscsi::test::as_text(data + 1, size - 1);
    check_file_name_of_portal(text.substr(0, text.find('\n')));
    Record record = parse_record(kind, text, "source", warnings);
    require(warnings.size() <= warnings_max);
    Record again = read_again(record);
    check_values(record, again);
    require(read_again(again) == again);
    check_display(record);
    for (const std::string& note : record.notes()) {
        require(note.find('\n') == std::string::npos);
    }
    if (kind == RecordKind::node) {
        static_cast<void>(check_node_id(node_id(record)));
    }
    return 0;
}
