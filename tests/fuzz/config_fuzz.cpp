// An iscsid.conf of any content. From what was read, records of every kind are made, which are valid files.
#include "fuzz.hpp"

#include "records/text.hpp"

using namespace iscsi;
using namespace iscsi::records;
using iscsi::test::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Warnings warnings;
    Config config = parse_config(iscsi::test::as_text(data, size), "iscsid.conf", warnings);
    require(warnings.size() <= warnings_max);
    auto iface = make_iface("if1");
    require(iface.has_value());
    auto node = make_node(config.node, "iqn.2001-04.com.example:t1", {"10.0.0.1", 3260, 1}, *iface, {});
    auto discovery = make_discovery(config.send_targets, {"10.0.0.1", 3260, tpgt_unknown});
    require(node && discovery);
    for (const Record& record : {*node, *discovery, config.isns, config.daemon}) {
        Warnings none;
        static_cast<void>(parse_record(record.kind(), file_text(record), "file", none));
        require(none.empty());
    }
    return 0;
}
