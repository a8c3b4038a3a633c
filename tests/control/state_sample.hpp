// The state of a session with every member set to something that is not its default.
#pragma once

#include "control/state_text.hpp"

#include <string>
#include <string_view>

namespace iscsi::control::samples {

inline constexpr std::string_view secret = "t0p#secr3t \"quoted\"";
inline constexpr std::string_view secret_in = "w\xf6rd-of-the-target"; // no UTF-8

inline scsi::BlockLimits limits() {
    scsi::BlockLimits limits;
    // A member that is new makes this fail to compile: give it a value here, and scsi/describe.hpp its name.
    auto& [wsnz, granularity, transfer, optimal, unmap, descriptors, unmap_granularity, alignment, same] =
        limits;
    wsnz = true;
    granularity = 8;
    transfer = 0xffffffff;
    optimal = 1024;
    unmap = 0xfffffffe;
    descriptors = 255;
    unmap_granularity = 64;
    alignment = 7;
    same = 0xffffffffffffffff;
    return limits;
}

inline scsi::DeviceIdentification identification() {
    scsi::DeviceIdentification identification;
    auto& [unit, group, port, port_name] = identification;
    unit = {{scsi::DesignatorType::naa, scsi::Association::logical_unit, "60014050123456789abcdef012345678"},
            {scsi::DesignatorType::scsi_name, scsi::Association::target_device, "iqn.2001-04.com.example:t1"},
            {scsi::DesignatorType::uuid, scsi::Association::target_port, ""}};
    group = 65535;
    port = 0;
    port_name = "iqn.2001-04.com.example:t1,t,0x0001";
    return identification;
}

inline scsi::LunFacts facts(std::uint64_t lun) {
    scsi::LunFacts facts;
    auto& [number, type, qualifier, version, groups, removable, vendor, product, revision, pages, serial,
           named, blocks, block_bytes, physical_bytes, aligned, protection, provisioned, lbprz, read_only,
           write_cache, dpofua, sense, write_protect, survives, block_limits, page, lbpu, lbpws, lbpws10,
           rotational, zoned, access] = facts;
    (void)access; // true of the moment, and not stored
    number = base::Lun(lun);
    type = scsi::peripheral::simplified_disk;
    qualifier = 0; // a disk has no other
    version = 6;
    groups = 3;
    removable = true;
    vendor = "LIO-ORG";
    product = "disk \"\\ \xc3\xa4"; // what printable() lets through
    revision = "4.0";
    pages.set(0).set(0x80).set(0xff);
    serial = "beaf-31";
    named = identification();
    blocks = base::BlockCount((std::uint64_t{1} << 51) - 1);
    block_bytes = 4096;
    physical_bytes = 65536;
    aligned = 15;
    protection = 3;
    provisioned = lbprz = read_only = write_cache = dpofua = sense = write_protect = survives = true;
    block_limits = limits();
    page = lbpu = lbpws = lbpws10 = true;
    rotational = false;
    zoned = 2;
    return facts;
}

inline SessionState session(std::uint32_t sid) {
    SessionState state;
    auto& [number, node, isid, initiator_name, down_since, logged_in_at, portal_group, time2wait_s,
           time2retain_s, reinstated_at, logging_in, ending, units, companions] = state;
    number = sid;
    (void)node.set(records::Key::node_name, "iqn.2001-04.com.example:t1");
    (void)node.set(records::Key::conn_address, "fe80::1%eth0");
    (void)node.set(records::Key::node_tpgt, "1");
    (void)node.set(records::Key::session_password, secret);
    (void)node.set(records::Key::session_password_in, secret_in);
    (void)node.set("node.session.of_a_newer_version", "kept");
    (void)node.set("node.session.zzz", "kept too");
    isid = base::Isid(0x80ffffffffff);
    initiator_name = "iqn.2016-04.com.example:initiator";
    down_since = base::Duration(INT64_MAX);
    logged_in_at = base::Duration(1);
    portal_group = 65535;
    time2wait_s = 3600;
    time2retain_s = 65535;
    reinstated_at = ReinstatedAt{"fe80::1", 3260, 65535};
    logging_in = true;
    ending = true;
    units = {{facts(0), block::Backend::ublk, 1, false},
             {facts(0x4001000000000000), block::Backend::nbd, 0xffffffffffffffff, true},
             {facts(0xffffffffffffffff), block::Backend::socket, 0x8000000000000000, true}};
    companions = {{base::Isid(0x80fffffffffe), std::nullopt, std::nullopt, 0, 0, std::nullopt},
                  {base::Isid(0), base::Duration(1), 65535, 3600, 65535, ReinstatedAt{"::1", 65535, 1}}};
    return state;
}

} // namespace iscsi::control::samples
