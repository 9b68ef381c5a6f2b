-- One row for each TCP socket of each network namespace of a Linux host.
--
-- Made from the daemon's field table by `xtcp2 schema clickhouse`: do not edit. It may be applied
-- again and again: an upgrade is the same file of the new version. docs/clickhouse.md has the rest.
--
-- The order: a host, an hour, then the rows of one socket in time. The hour lets a query skip what
-- is older or newer; within it the values of a socket follow each other, which is what makes them
-- small. Instance and record counter close it and make the key of a row unique: a copy of a row
-- that was sent twice has the same key, and goes with the next merge.
--
-- The deduplication window is in inserts: within it an insert that is tried again with its token
-- (the envelope's identity) adds nothing. 10,000 inserts are hours of one host's envelopes.
--
-- timestamp_ns is an int64 of nanoseconds on the wire, which the engine would take for seconds. So
-- the .proto for ClickHouse calls it timestamp_unix_ns, and timestamp_ns is made from that. A body
-- that is one Envelope goes in as it is:
--     INSERT INTO xtcp.xtcp_flat_records FORMAT ProtobufList
-- with format_schema = 'XtcpFlatRecord:XtcpFlatRecord'.

CREATE DATABASE IF NOT EXISTS xtcp;

CREATE TABLE IF NOT EXISTS xtcp.xtcp_flat_records
(
    schema_version UInt32 CODEC(ZSTD(1)) COMMENT 'Version of the record format: 1',
    daemon_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Version of the program that wrote the row',
    timestamp_unix_ns Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Start of the poll, nanoseconds since 1970-01-01 UTC; the same in all rows of a poll',
    timestamp_ns DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(timestamp_unix_ns, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the poll; the same in all rows of a poll',
    hostname LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--hostname, or the host\'s own',
    location LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--location',
    netns LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Path by which the network namespace was entered',
    netns_inode UInt64 CODEC(ZSTD(1)) COMMENT 'Inode of the network namespace; given out again once the namespace is gone',
    nsid UInt32 CODEC(ZSTD(1)) COMMENT 'Id of the namespace as seen from the daemon\'s own (not filled yet)',
    container_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Container that owns the namespace (not filled yet)',
    container_runtime LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Runtime of that container (not filled yet)',
    container_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that container (not filled yet)',
    container_image LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Image of that container (not filled yet)',
    label LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--label',
    tag LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--tag',
    record_counter UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Number of the row in this run of the daemon, from 1, without gaps',
    socket_fd UInt64 CODEC(ZSTD(1)) COMMENT 'Descriptor of the netlink socket that read the row',
    netlinker_id UInt64 CODEC(ZSTD(1)) COMMENT 'Reader thread of the reference program; there are none here (not filled yet)',
    instance_id UInt64 CODEC(ZSTD(1)) COMMENT 'Random id of this run of the daemon, never 0',
    poll_sequence UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Number of the poll in this run, from 1',
    netns_cookie UInt64 CODEC(ZSTD(1)) COMMENT 'SO_NETNS_COOKIE: identifies the namespace for as long as the machine runs; 0 before Linux 5.14',
    inet_diag_attributes UInt32 CODEC(ZSTD(1)) COMMENT 'Attributes that this row holds, bit n for INET_DIAG_* number n: tells absent from 0',
    tcp_info_length_bytes UInt32 CODEC(ZSTD(1)) COMMENT 'Length of the kernel\'s tcp_info: members behind it are absent, not 0',
    uplink1_ifname LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the uplink interface (not filled yet)',
    uplink1_nic_driver LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Driver of its network card (not filled yet)',
    uplink1_nic_model LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Model of its network card (not filled yet)',
    uplink1_nic_pci_vendor UInt32 CODEC(ZSTD(1)) COMMENT 'PCI vendor id (not filled yet)',
    uplink1_nic_pci_device UInt32 CODEC(ZSTD(1)) COMMENT 'PCI device id (not filled yet)',
    uplink1_nic_bus_info LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Bus address (not filled yet)',
    uplink1_nic_speed_mbps UInt32 CODEC(ZSTD(1)) COMMENT 'Link speed, megabits per second (not filled yet)',
    uplink1_nic_fw_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Firmware version (not filled yet)',
    uplink1_lldp_chassis_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP system name of the switch (not filled yet)',
    uplink1_lldp_chassis_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP chassis id of the switch (not filled yet)',
    uplink1_lldp_mgmt_ip LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP management address of the switch (not filled yet)',
    uplink1_lldp_port_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port id on the switch (not filled yet)',
    uplink1_lldp_port_descr LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port description (not filled yet)',
    uplink2_ifname LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the uplink interface (not filled yet)',
    uplink2_nic_driver LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Driver of its network card (not filled yet)',
    uplink2_nic_model LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Model of its network card (not filled yet)',
    uplink2_nic_pci_vendor UInt32 CODEC(ZSTD(1)) COMMENT 'PCI vendor id (not filled yet)',
    uplink2_nic_pci_device UInt32 CODEC(ZSTD(1)) COMMENT 'PCI device id (not filled yet)',
    uplink2_nic_bus_info LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Bus address (not filled yet)',
    uplink2_nic_speed_mbps UInt32 CODEC(ZSTD(1)) COMMENT 'Link speed, megabits per second (not filled yet)',
    uplink2_nic_fw_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Firmware version (not filled yet)',
    uplink2_lldp_chassis_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP system name of the switch (not filled yet)',
    uplink2_lldp_chassis_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP chassis id of the switch (not filled yet)',
    uplink2_lldp_mgmt_ip LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP management address of the switch (not filled yet)',
    uplink2_lldp_port_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port id on the switch (not filled yet)',
    uplink2_lldp_port_descr LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port description (not filled yet)',
    inet_diag_msg_family UInt32 CODEC(ZSTD(1)) COMMENT 'Address family: 2 IPv4, 10 IPv6',
    inet_diag_msg_state UInt32 CODEC(ZSTD(1)) COMMENT 'TCP state, include/net/tcp_states.h: 1 ESTABLISHED ... 10 LISTEN, 12 NEW_SYN_RECV',
    inet_diag_msg_timer UInt32 CODEC(ZSTD(1)) COMMENT 'Timer that runs: 0 none, 1 retransmission, 2 keep-alive, 3 TIME_WAIT, 4 zero-window probe',
    inet_diag_msg_retrans UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmissions or probes sent for that timer',
    inet_diag_msg_socket_source_port UInt32 CODEC(ZSTD(1)) COMMENT 'Local port',
    inet_diag_msg_socket_destination_port UInt32 CODEC(ZSTD(1)) COMMENT 'Remote port',
    inet_diag_msg_socket_source FixedString(16) CODEC(ZSTD(1)) COMMENT 'Local address, 16 bytes; IPv4 takes the first 4',
    inet_diag_msg_socket_destination FixedString(16) CODEC(ZSTD(1)) COMMENT 'Remote address, 16 bytes; IPv4 takes the first 4',
    inet_diag_msg_socket_interface UInt32 CODEC(ZSTD(1)) COMMENT 'Index of the interface that the socket is bound to, 0 none',
    inet_diag_msg_socket_cookie UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Identifies the socket for as long as the machine runs',
    inet_diag_msg_socket_dest_asn UInt64 CODEC(ZSTD(1)) COMMENT 'Autonomous system of the remote address (not filled yet)',
    inet_diag_msg_socket_next_hop_asn UInt64 CODEC(ZSTD(1)) COMMENT 'Autonomous system of the next hop (not filled yet)',
    inet_diag_msg_expires UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Until the timer fires, milliseconds',
    inet_diag_msg_rqueue UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes received and not read; for a listener connections not accepted',
    inet_diag_msg_wqueue UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes sent and not acknowledged; for a listener the bound of the accept queue',
    inet_diag_msg_uid UInt32 CODEC(ZSTD(1)) COMMENT 'User that owns the socket',
    inet_diag_msg_inode UInt32 CODEC(ZSTD(1)) COMMENT 'Inode of the socket, 0 when no process holds it',
    mem_info_rmem UInt32 CODEC(ZSTD(1)) COMMENT 'Receive memory in use, bytes',
    mem_info_wmem UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory queued, bytes',
    mem_info_fmem UInt32 CODEC(ZSTD(1)) COMMENT 'Memory reserved for later use, bytes',
    mem_info_tmem UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory in use, bytes',
    tcp_info_state UInt32 CODEC(ZSTD(1)) COMMENT 'TCP state, include/net/tcp_states.h; for a listener or a half-open request too',
    tcp_info_ca_state UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion avoidance state: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss',
    tcp_info_retransmits UInt32 CODEC(ZSTD(1)) COMMENT 'Unrecovered retransmission time-outs in a row',
    tcp_info_probes UInt32 CODEC(ZSTD(1)) COMMENT 'Window or keep-alive probes unanswered',
    tcp_info_backoff UInt32 CODEC(ZSTD(1)) COMMENT 'Exponent by which the retransmission time-out is backed off',
    tcp_info_options UInt32 CODEC(ZSTD(1)) COMMENT 'Negotiated options, bits: 1 timestamps, 2 SACK, 4 window scale, 8 ECN, 16 ECN seen, 32 SYN data, 64 usec timestamps, 128 child of a fast-open listener',
    tcp_info_send_scale UInt32 CODEC(ZSTD(1)) COMMENT 'Window scale of the peer, as a shift',
    tcp_info_rcv_scale UInt32 CODEC(ZSTD(1)) COMMENT 'Window scale of this side, as a shift',
    tcp_info_delivery_rate_app_limited UInt32 CODEC(ZSTD(1)) COMMENT '1 when delivery_rate was limited by the application',
    tcp_info_fast_open_client_failed UInt32 CODEC(ZSTD(1)) COMMENT 'Why a fast-open client fell back: 0 unspecified, 1 cookie not there, 2 data not acked, 3 SYN retransmitted',
    tcp_info_rto UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmission time-out, microseconds',
    tcp_info_ato UInt32 CODEC(ZSTD(1)) COMMENT 'Delayed-ACK time-out, microseconds',
    tcp_info_snd_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Maximum segment size sent, bytes',
    tcp_info_rcv_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Estimate of the maximum segment size received, bytes',
    tcp_info_unacked UInt32 CODEC(ZSTD(1)) COMMENT 'Segments sent and not acknowledged; for a listener the length of the accept queue',
    tcp_info_sacked UInt32 CODEC(ZSTD(1)) COMMENT 'Segments selectively acknowledged; for a listener the bound of the accept queue',
    tcp_info_lost UInt32 CODEC(ZSTD(1)) COMMENT 'Segments held for lost',
    tcp_info_retrans UInt32 CODEC(ZSTD(1)) COMMENT 'Segments retransmitted and not yet acknowledged',
    tcp_info_fackets UInt32 CODEC(ZSTD(1)) COMMENT 'Not used since Linux 4.15: 0',
    tcp_info_last_data_sent UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since data was last sent, milliseconds',
    tcp_info_last_ack_sent UInt32 CODEC(ZSTD(1)) COMMENT 'Not remembered by the kernel: 0',
    tcp_info_last_data_recv UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since data was last received, milliseconds',
    tcp_info_last_ack_recv UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since an ACK was last received, milliseconds',
    tcp_info_pmtu UInt32 CODEC(ZSTD(1)) COMMENT 'Path MTU, bytes',
    tcp_info_rcv_ssthresh UInt32 CODEC(ZSTD(1)) COMMENT 'Current window clamp of the receiver, bytes',
    tcp_info_rtt UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Smoothed round-trip time, microseconds',
    tcp_info_rtt_var UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Mean deviation of the round-trip time, microseconds',
    tcp_info_snd_ssthresh UInt32 CODEC(ZSTD(1)) COMMENT 'Slow-start threshold, segments',
    tcp_info_snd_cwnd UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion window, segments',
    tcp_info_adv_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Maximum segment size advertised, bytes',
    tcp_info_reordering UInt32 CODEC(ZSTD(1)) COMMENT 'Reordering that is tolerated, segments',
    tcp_info_rcv_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Round-trip time as the receiver estimates it, microseconds',
    tcp_info_rcv_space UInt32 CODEC(ZSTD(1)) COMMENT 'Receive-buffer autotuning: bytes copied to the application in a round trip',
    tcp_info_total_retrans UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments retransmitted in the connection\'s life',
    tcp_info_pacing_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Pacing rate, bytes per second; all ones is unlimited',
    tcp_info_max_pacing_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Bound of the pacing rate, bytes per second; all ones is unlimited',
    tcp_info_bytes_acked UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes sent and acknowledged (RFC 4898 tcpEStatsAppHCThruOctetsAcked)',
    tcp_info_bytes_received UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received in order (RFC 4898 tcpEStatsAppHCThruOctetsReceived)',
    tcp_info_segs_out UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments sent (RFC 4898 tcpEStatsPerfSegsOut)',
    tcp_info_segs_in UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments received (RFC 4898 tcpEStatsPerfSegsIn)',
    tcp_info_not_sent_bytes UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes in the send queue that were never sent',
    tcp_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time in the kernel\'s window, microseconds',
    tcp_info_data_segs_in UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments with data received (RFC 4898 tcpEStatsDataSegsIn)',
    tcp_info_data_segs_out UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments with data sent (RFC 4898 tcpEStatsDataSegsOut)',
    tcp_info_delivery_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Most recent goodput seen by the sender, bytes per second',
    tcp_info_busy_time UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time with data outstanding, microseconds',
    tcp_info_rwnd_limited UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time limited by the peer\'s receive window, microseconds',
    tcp_info_sndbuf_limited UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time limited by the send buffer, microseconds',
    tcp_info_delivered UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments delivered, retransmitted ones included',
    tcp_info_delivered_ce UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments delivered with a CE mark echoed',
    tcp_info_bytes_sent UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes sent, retransmitted ones included (RFC 4898 tcpEStatsPerfHCDataOctetsOut)',
    tcp_info_bytes_retrans UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes retransmitted (RFC 4898 tcpEStatsPerfOctetsRetrans)',
    tcp_info_dsack_dups UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Duplicate SACKs received (RFC 4898 tcpEStatsStackDSACKDups)',
    tcp_info_reord_seen UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Reordering events seen',
    tcp_info_rcv_ooopack UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Out-of-order segments received',
    tcp_info_snd_wnd UInt32 CODEC(T64, ZSTD(1)) COMMENT 'The peer\'s advertised receive window after scaling, bytes',
    tcp_info_rcv_wnd UInt32 CODEC(T64, ZSTD(1)) COMMENT 'The local advertised receive window after scaling, bytes',
    tcp_info_rehash UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Rehashes of the flow by PLB or by a time-out',
    tcp_info_total_rto UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmission time-outs, SYN and SYN-ACK included',
    tcp_info_total_rto_recoveries UInt32 CODEC(ZSTD(1)) COMMENT 'Recoveries from retransmission time-outs',
    tcp_info_total_rto_time UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Time spent in time-out recovery, milliseconds',
    tcp_info_received_ce UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments received with a CE mark',
    tcp_info_delivered_e1_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with an ECT(1) mark, as the peer\'s AccECN option counts them',
    tcp_info_delivered_e0_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with an ECT(0) mark, as the peer\'s AccECN option counts them',
    tcp_info_delivered_ce_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with a CE mark, as the peer\'s AccECN option counts them',
    tcp_info_received_e1_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with an ECT(1) mark',
    tcp_info_received_e0_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with an ECT(0) mark',
    tcp_info_received_ce_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with a CE mark',
    tcp_info_accecn_fail_mode UInt32 CODEC(ZSTD(1)) COMMENT 'AccECN failures seen, bits: 1 ACE sent, 2 ACE received, 4 option sent, 8 option received',
    tcp_info_accecn_opt_seen UInt32 CODEC(ZSTD(1)) COMMENT 'AccECN option: 0 not seen, 1 empty, 2 with counters, 3 failed',
    congestion_algorithm_string LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the congestion control',
    congestion_algorithm_enum Enum8('CONGESTION_ALGORITHM_UNSPECIFIED' = 0, 'CONGESTION_ALGORITHM_CUBIC' = 1, 'CONGESTION_ALGORITHM_DCTCP' = 2, 'CONGESTION_ALGORITHM_VEGAS' = 3, 'CONGESTION_ALGORITHM_PRAGUE' = 4, 'CONGESTION_ALGORITHM_BBR1' = 5, 'CONGESTION_ALGORITHM_BBR2' = 6, 'CONGESTION_ALGORITHM_BBR3' = 7) CODEC(ZSTD(1)) COMMENT 'The congestion control, where the contract has a number for it',
    type_of_service UInt32 CODEC(ZSTD(1)) COMMENT 'IPv4 type of service',
    traffic_class UInt32 CODEC(ZSTD(1)) COMMENT 'IPv6 traffic class',
    sk_mem_info_rmem_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Receive memory in use, bytes',
    sk_mem_info_rcv_buf UInt32 CODEC(ZSTD(1)) COMMENT 'Receive buffer, bytes',
    sk_mem_info_wmem_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory in use, bytes',
    sk_mem_info_snd_buf UInt32 CODEC(ZSTD(1)) COMMENT 'Send buffer, bytes',
    sk_mem_info_fwd_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Memory reserved for later use, bytes',
    sk_mem_info_wmem_queued UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory queued, bytes',
    sk_mem_info_optmem UInt32 CODEC(ZSTD(1)) COMMENT 'Memory of socket options, bytes',
    sk_mem_info_backlog UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes in the backlog queue',
    sk_mem_info_drops UInt32 CODEC(ZSTD(1)) COMMENT 'Packets dropped by the socket',
    shutdown_state UInt32 CODEC(ZSTD(1)) COMMENT 'Directions shut down, bits: 1 receive, 2 send',
    vegas_info_enabled UInt32 CODEC(ZSTD(1)) COMMENT '1 while Vegas is in charge',
    vegas_info_rtt_cnt UInt32 CODEC(ZSTD(1)) COMMENT 'Round-trip times measured in this round',
    vegas_info_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time of the last round, microseconds',
    vegas_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time of the connection, microseconds',
    dctcp_info_enabled UInt32 CODEC(ZSTD(1)) COMMENT '1 while DCTCP is in charge',
    dctcp_info_ce_state UInt32 CODEC(ZSTD(1)) COMMENT '1 when the last segment received had a CE mark',
    dctcp_info_alpha UInt32 CODEC(ZSTD(1)) COMMENT 'Share of marked bytes, as a fraction of 1024',
    dctcp_info_ab_ecn UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes acknowledged with a mark, last window',
    dctcp_info_ab_tot UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes acknowledged, last window',
    bbr_info_bw_lo UInt32 CODEC(ZSTD(1)) COMMENT 'Bandwidth estimate, bytes per second, low 32 bits',
    bbr_info_bw_hi UInt32 CODEC(ZSTD(1)) COMMENT 'Bandwidth estimate, bytes per second, high 32 bits',
    bbr_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time, microseconds',
    bbr_info_pacing_gain UInt32 CODEC(ZSTD(1)) COMMENT 'Pacing gain, in 1/256',
    bbr_info_cwnd_gain UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion window gain, in 1/256',
    class_id UInt32 CODEC(ZSTD(1)) COMMENT 'Traffic-control class, else the socket\'s priority',
    sock_opt UInt32 CODEC(ZSTD(1)) COMMENT 'struct inet_diag_sockopt as 16 bits, from bit 0: recverr is_icsk freebind hdrincl mc_loop transparent mc_all nodefrag bind_address_no_port recverr_rfc4884 defer_connect',
    c_group UInt64 CODEC(ZSTD(1)) COMMENT 'Id of the cgroup v2 of the socket',
    sk_mark UInt32 CODEC(ZSTD(1)) COMMENT 'SO_MARK; only with CAP_NET_ADMIN',
    sk_v6only UInt32 CODEC(ZSTD(1)) COMMENT '1 for an IPv6 socket that takes no IPv4',
    md5sig_keys UInt32 CODEC(ZSTD(1)) COMMENT 'TCP-MD5 keys of the socket; the keys themselves are not exported; only with CAP_NET_ADMIN',
    ulp_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Upper-layer protocol: tls, mptcp, espintcp, smc',
    ulp_tls_version UInt32 CODEC(ZSTD(1)) COMMENT 'TLS version as on the wire: 771 is 1.2, 772 is 1.3',
    ulp_tls_cipher UInt32 CODEC(ZSTD(1)) COMMENT 'Cipher, include/uapi/linux/tls.h',
    ulp_tls_txconf UInt32 CODEC(ZSTD(1)) COMMENT 'Sending: 1 plain, 2 software, 3 device, 4 device with its own record layer',
    ulp_tls_rxconf UInt32 CODEC(ZSTD(1)) COMMENT 'Receiving: as ulp_tls_txconf',
    ulp_tls_zc_ro_tx UInt32 CODEC(ZSTD(1)) COMMENT '1 when sendfile sends without a copy (TLS_TX_ZEROCOPY_RO)',
    ulp_tls_rx_no_pad UInt32 CODEC(ZSTD(1)) COMMENT '1 when TLS 1.3 records are expected without padding (TLS_RX_EXPECT_NO_PAD)',
    ulp_mptcp_token_rem UInt32 CODEC(ZSTD(1)) COMMENT 'Token of the MPTCP connection at the peer',
    ulp_mptcp_token_loc UInt32 CODEC(ZSTD(1)) COMMENT 'Token of the MPTCP connection here',
    ulp_mptcp_relwrite_seq UInt32 CODEC(ZSTD(1)) COMMENT 'Relative write sequence number of the subflow',
    ulp_mptcp_map_seq UInt64 CODEC(ZSTD(1)) COMMENT 'Data sequence number of the current mapping',
    ulp_mptcp_map_sfseq UInt32 CODEC(ZSTD(1)) COMMENT 'Subflow sequence number of the current mapping',
    ulp_mptcp_ssn_offset UInt32 CODEC(ZSTD(1)) COMMENT 'Offset of the subflow sequence number',
    ulp_mptcp_map_datalen UInt32 CODEC(ZSTD(1)) COMMENT 'Length of the current mapping, bytes',
    ulp_mptcp_flags UInt32 CODEC(ZSTD(1)) COMMENT 'MPTCP_SUBFLOW_FLAG_*, include/uapi/linux/mptcp.h',
    ulp_mptcp_id_rem UInt32 CODEC(ZSTD(1)) COMMENT 'Address id of the peer',
    ulp_mptcp_id_loc UInt32 CODEC(ZSTD(1)) COMMENT 'Address id here',
    source_ip IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, toFixedString(concat(unhex('00000000000000000000FFFF'), substring(inet_diag_msg_socket_source, 1, 4)), 16), inet_diag_msg_socket_source) AS IPv6) CODEC(ZSTD(1)) COMMENT 'Local address',
    destination_ip IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, toFixedString(concat(unhex('00000000000000000000FFFF'), substring(inet_diag_msg_socket_destination, 1, 4)), 16), inet_diag_msg_socket_destination) AS IPv6) CODEC(ZSTD(1)) COMMENT 'Remote address',
    source_ip_text String ALIAS replaceRegexpOne(toString(source_ip), '^::ffff:([0-9]+[.])', '\\1') COMMENT 'Local address as people write it',
    destination_ip_text String ALIAS replaceRegexpOne(toString(destination_ip), '^::ffff:([0-9]+[.])', '\\1') COMMENT 'Remote address as people write it',
    INDEX destination_ip_bloom destination_ip TYPE bloom_filter GRANULARITY 4,
    INDEX instance_ids instance_id TYPE set(16) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(timestamp_ns)
PRIMARY KEY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie)
ORDER BY (hostname, toStartOfHour(timestamp_ns), netns, inet_diag_msg_socket_cookie, timestamp_ns, instance_id, record_counter)
TTL toDateTime(timestamp_ns) + INTERVAL 30 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

-- A table of an earlier version gets the columns that it lacks; else this does nothing.
ALTER TABLE xtcp.xtcp_flat_records
    ADD COLUMN IF NOT EXISTS schema_version UInt32 CODEC(ZSTD(1)) COMMENT 'Version of the record format: 1',
    ADD COLUMN IF NOT EXISTS daemon_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Version of the program that wrote the row',
    ADD COLUMN IF NOT EXISTS timestamp_unix_ns Int64 CODEC(Delta, ZSTD(1)) COMMENT 'Start of the poll, nanoseconds since 1970-01-01 UTC; the same in all rows of a poll',
    ADD COLUMN IF NOT EXISTS timestamp_ns DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(timestamp_unix_ns, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the poll; the same in all rows of a poll',
    ADD COLUMN IF NOT EXISTS hostname LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--hostname, or the host\'s own',
    ADD COLUMN IF NOT EXISTS location LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--location',
    ADD COLUMN IF NOT EXISTS netns LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Path by which the network namespace was entered',
    ADD COLUMN IF NOT EXISTS netns_inode UInt64 CODEC(ZSTD(1)) COMMENT 'Inode of the network namespace; given out again once the namespace is gone',
    ADD COLUMN IF NOT EXISTS nsid UInt32 CODEC(ZSTD(1)) COMMENT 'Id of the namespace as seen from the daemon\'s own (not filled yet)',
    ADD COLUMN IF NOT EXISTS container_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Container that owns the namespace (not filled yet)',
    ADD COLUMN IF NOT EXISTS container_runtime LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Runtime of that container (not filled yet)',
    ADD COLUMN IF NOT EXISTS container_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of that container (not filled yet)',
    ADD COLUMN IF NOT EXISTS container_image LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Image of that container (not filled yet)',
    ADD COLUMN IF NOT EXISTS label LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--label',
    ADD COLUMN IF NOT EXISTS tag LowCardinality(String) CODEC(ZSTD(1)) COMMENT '--tag',
    ADD COLUMN IF NOT EXISTS record_counter UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Number of the row in this run of the daemon, from 1, without gaps',
    ADD COLUMN IF NOT EXISTS socket_fd UInt64 CODEC(ZSTD(1)) COMMENT 'Descriptor of the netlink socket that read the row',
    ADD COLUMN IF NOT EXISTS netlinker_id UInt64 CODEC(ZSTD(1)) COMMENT 'Reader thread of the reference program; there are none here (not filled yet)',
    ADD COLUMN IF NOT EXISTS instance_id UInt64 CODEC(ZSTD(1)) COMMENT 'Random id of this run of the daemon, never 0',
    ADD COLUMN IF NOT EXISTS poll_sequence UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Number of the poll in this run, from 1',
    ADD COLUMN IF NOT EXISTS netns_cookie UInt64 CODEC(ZSTD(1)) COMMENT 'SO_NETNS_COOKIE: identifies the namespace for as long as the machine runs; 0 before Linux 5.14',
    ADD COLUMN IF NOT EXISTS inet_diag_attributes UInt32 CODEC(ZSTD(1)) COMMENT 'Attributes that this row holds, bit n for INET_DIAG_* number n: tells absent from 0',
    ADD COLUMN IF NOT EXISTS tcp_info_length_bytes UInt32 CODEC(ZSTD(1)) COMMENT 'Length of the kernel\'s tcp_info: members behind it are absent, not 0',
    ADD COLUMN IF NOT EXISTS uplink1_ifname LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the uplink interface (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_driver LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Driver of its network card (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_model LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Model of its network card (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_pci_vendor UInt32 CODEC(ZSTD(1)) COMMENT 'PCI vendor id (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_pci_device UInt32 CODEC(ZSTD(1)) COMMENT 'PCI device id (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_bus_info LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Bus address (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_speed_mbps UInt32 CODEC(ZSTD(1)) COMMENT 'Link speed, megabits per second (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_nic_fw_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Firmware version (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_lldp_chassis_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP system name of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_lldp_chassis_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP chassis id of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_lldp_mgmt_ip LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP management address of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_lldp_port_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port id on the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink1_lldp_port_descr LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port description (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_ifname LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the uplink interface (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_driver LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Driver of its network card (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_model LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Model of its network card (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_pci_vendor UInt32 CODEC(ZSTD(1)) COMMENT 'PCI vendor id (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_pci_device UInt32 CODEC(ZSTD(1)) COMMENT 'PCI device id (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_bus_info LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Bus address (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_speed_mbps UInt32 CODEC(ZSTD(1)) COMMENT 'Link speed, megabits per second (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_nic_fw_version LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Firmware version (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_lldp_chassis_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP system name of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_lldp_chassis_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP chassis id of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_lldp_mgmt_ip LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP management address of the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_lldp_port_id LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port id on the switch (not filled yet)',
    ADD COLUMN IF NOT EXISTS uplink2_lldp_port_descr LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'LLDP port description (not filled yet)',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_family UInt32 CODEC(ZSTD(1)) COMMENT 'Address family: 2 IPv4, 10 IPv6',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_state UInt32 CODEC(ZSTD(1)) COMMENT 'TCP state, include/net/tcp_states.h: 1 ESTABLISHED ... 10 LISTEN, 12 NEW_SYN_RECV',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_timer UInt32 CODEC(ZSTD(1)) COMMENT 'Timer that runs: 0 none, 1 retransmission, 2 keep-alive, 3 TIME_WAIT, 4 zero-window probe',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_retrans UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmissions or probes sent for that timer',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_source_port UInt32 CODEC(ZSTD(1)) COMMENT 'Local port',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_destination_port UInt32 CODEC(ZSTD(1)) COMMENT 'Remote port',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_source FixedString(16) CODEC(ZSTD(1)) COMMENT 'Local address, 16 bytes; IPv4 takes the first 4',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_destination FixedString(16) CODEC(ZSTD(1)) COMMENT 'Remote address, 16 bytes; IPv4 takes the first 4',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_interface UInt32 CODEC(ZSTD(1)) COMMENT 'Index of the interface that the socket is bound to, 0 none',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_cookie UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Identifies the socket for as long as the machine runs',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_dest_asn UInt64 CODEC(ZSTD(1)) COMMENT 'Autonomous system of the remote address (not filled yet)',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_socket_next_hop_asn UInt64 CODEC(ZSTD(1)) COMMENT 'Autonomous system of the next hop (not filled yet)',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_expires UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Until the timer fires, milliseconds',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_rqueue UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes received and not read; for a listener connections not accepted',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_wqueue UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes sent and not acknowledged; for a listener the bound of the accept queue',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_uid UInt32 CODEC(ZSTD(1)) COMMENT 'User that owns the socket',
    ADD COLUMN IF NOT EXISTS inet_diag_msg_inode UInt32 CODEC(ZSTD(1)) COMMENT 'Inode of the socket, 0 when no process holds it',
    ADD COLUMN IF NOT EXISTS mem_info_rmem UInt32 CODEC(ZSTD(1)) COMMENT 'Receive memory in use, bytes',
    ADD COLUMN IF NOT EXISTS mem_info_wmem UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory queued, bytes',
    ADD COLUMN IF NOT EXISTS mem_info_fmem UInt32 CODEC(ZSTD(1)) COMMENT 'Memory reserved for later use, bytes',
    ADD COLUMN IF NOT EXISTS mem_info_tmem UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory in use, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_state UInt32 CODEC(ZSTD(1)) COMMENT 'TCP state, include/net/tcp_states.h; for a listener or a half-open request too',
    ADD COLUMN IF NOT EXISTS tcp_info_ca_state UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion avoidance state: 0 Open, 1 Disorder, 2 CWR, 3 Recovery, 4 Loss',
    ADD COLUMN IF NOT EXISTS tcp_info_retransmits UInt32 CODEC(ZSTD(1)) COMMENT 'Unrecovered retransmission time-outs in a row',
    ADD COLUMN IF NOT EXISTS tcp_info_probes UInt32 CODEC(ZSTD(1)) COMMENT 'Window or keep-alive probes unanswered',
    ADD COLUMN IF NOT EXISTS tcp_info_backoff UInt32 CODEC(ZSTD(1)) COMMENT 'Exponent by which the retransmission time-out is backed off',
    ADD COLUMN IF NOT EXISTS tcp_info_options UInt32 CODEC(ZSTD(1)) COMMENT 'Negotiated options, bits: 1 timestamps, 2 SACK, 4 window scale, 8 ECN, 16 ECN seen, 32 SYN data, 64 usec timestamps, 128 child of a fast-open listener',
    ADD COLUMN IF NOT EXISTS tcp_info_send_scale UInt32 CODEC(ZSTD(1)) COMMENT 'Window scale of the peer, as a shift',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_scale UInt32 CODEC(ZSTD(1)) COMMENT 'Window scale of this side, as a shift',
    ADD COLUMN IF NOT EXISTS tcp_info_delivery_rate_app_limited UInt32 CODEC(ZSTD(1)) COMMENT '1 when delivery_rate was limited by the application',
    ADD COLUMN IF NOT EXISTS tcp_info_fast_open_client_failed UInt32 CODEC(ZSTD(1)) COMMENT 'Why a fast-open client fell back: 0 unspecified, 1 cookie not there, 2 data not acked, 3 SYN retransmitted',
    ADD COLUMN IF NOT EXISTS tcp_info_rto UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmission time-out, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_ato UInt32 CODEC(ZSTD(1)) COMMENT 'Delayed-ACK time-out, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_snd_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Maximum segment size sent, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Estimate of the maximum segment size received, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_unacked UInt32 CODEC(ZSTD(1)) COMMENT 'Segments sent and not acknowledged; for a listener the length of the accept queue',
    ADD COLUMN IF NOT EXISTS tcp_info_sacked UInt32 CODEC(ZSTD(1)) COMMENT 'Segments selectively acknowledged; for a listener the bound of the accept queue',
    ADD COLUMN IF NOT EXISTS tcp_info_lost UInt32 CODEC(ZSTD(1)) COMMENT 'Segments held for lost',
    ADD COLUMN IF NOT EXISTS tcp_info_retrans UInt32 CODEC(ZSTD(1)) COMMENT 'Segments retransmitted and not yet acknowledged',
    ADD COLUMN IF NOT EXISTS tcp_info_fackets UInt32 CODEC(ZSTD(1)) COMMENT 'Not used since Linux 4.15: 0',
    ADD COLUMN IF NOT EXISTS tcp_info_last_data_sent UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since data was last sent, milliseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_last_ack_sent UInt32 CODEC(ZSTD(1)) COMMENT 'Not remembered by the kernel: 0',
    ADD COLUMN IF NOT EXISTS tcp_info_last_data_recv UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since data was last received, milliseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_last_ack_recv UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Since an ACK was last received, milliseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_pmtu UInt32 CODEC(ZSTD(1)) COMMENT 'Path MTU, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_ssthresh UInt32 CODEC(ZSTD(1)) COMMENT 'Current window clamp of the receiver, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_rtt UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Smoothed round-trip time, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_rtt_var UInt32 CODEC(T64, ZSTD(1)) COMMENT 'Mean deviation of the round-trip time, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_snd_ssthresh UInt32 CODEC(ZSTD(1)) COMMENT 'Slow-start threshold, segments',
    ADD COLUMN IF NOT EXISTS tcp_info_snd_cwnd UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion window, segments',
    ADD COLUMN IF NOT EXISTS tcp_info_adv_mss UInt32 CODEC(ZSTD(1)) COMMENT 'Maximum segment size advertised, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_reordering UInt32 CODEC(ZSTD(1)) COMMENT 'Reordering that is tolerated, segments',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Round-trip time as the receiver estimates it, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_space UInt32 CODEC(ZSTD(1)) COMMENT 'Receive-buffer autotuning: bytes copied to the application in a round trip',
    ADD COLUMN IF NOT EXISTS tcp_info_total_retrans UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments retransmitted in the connection\'s life',
    ADD COLUMN IF NOT EXISTS tcp_info_pacing_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Pacing rate, bytes per second; all ones is unlimited',
    ADD COLUMN IF NOT EXISTS tcp_info_max_pacing_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Bound of the pacing rate, bytes per second; all ones is unlimited',
    ADD COLUMN IF NOT EXISTS tcp_info_bytes_acked UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes sent and acknowledged (RFC 4898 tcpEStatsAppHCThruOctetsAcked)',
    ADD COLUMN IF NOT EXISTS tcp_info_bytes_received UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received in order (RFC 4898 tcpEStatsAppHCThruOctetsReceived)',
    ADD COLUMN IF NOT EXISTS tcp_info_segs_out UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments sent (RFC 4898 tcpEStatsPerfSegsOut)',
    ADD COLUMN IF NOT EXISTS tcp_info_segs_in UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments received (RFC 4898 tcpEStatsPerfSegsIn)',
    ADD COLUMN IF NOT EXISTS tcp_info_not_sent_bytes UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes in the send queue that were never sent',
    ADD COLUMN IF NOT EXISTS tcp_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time in the kernel\'s window, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_data_segs_in UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments with data received (RFC 4898 tcpEStatsDataSegsIn)',
    ADD COLUMN IF NOT EXISTS tcp_info_data_segs_out UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments with data sent (RFC 4898 tcpEStatsDataSegsOut)',
    ADD COLUMN IF NOT EXISTS tcp_info_delivery_rate UInt64 CODEC(ZSTD(1)) COMMENT 'Most recent goodput seen by the sender, bytes per second',
    ADD COLUMN IF NOT EXISTS tcp_info_busy_time UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time with data outstanding, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_rwnd_limited UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time limited by the peer\'s receive window, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_sndbuf_limited UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Time limited by the send buffer, microseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_delivered UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments delivered, retransmitted ones included',
    ADD COLUMN IF NOT EXISTS tcp_info_delivered_ce UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments delivered with a CE mark echoed',
    ADD COLUMN IF NOT EXISTS tcp_info_bytes_sent UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes sent, retransmitted ones included (RFC 4898 tcpEStatsPerfHCDataOctetsOut)',
    ADD COLUMN IF NOT EXISTS tcp_info_bytes_retrans UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes retransmitted (RFC 4898 tcpEStatsPerfOctetsRetrans)',
    ADD COLUMN IF NOT EXISTS tcp_info_dsack_dups UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Duplicate SACKs received (RFC 4898 tcpEStatsStackDSACKDups)',
    ADD COLUMN IF NOT EXISTS tcp_info_reord_seen UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Reordering events seen',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_ooopack UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Out-of-order segments received',
    ADD COLUMN IF NOT EXISTS tcp_info_snd_wnd UInt32 CODEC(T64, ZSTD(1)) COMMENT 'The peer\'s advertised receive window after scaling, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_rcv_wnd UInt32 CODEC(T64, ZSTD(1)) COMMENT 'The local advertised receive window after scaling, bytes',
    ADD COLUMN IF NOT EXISTS tcp_info_rehash UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Rehashes of the flow by PLB or by a time-out',
    ADD COLUMN IF NOT EXISTS tcp_info_total_rto UInt32 CODEC(ZSTD(1)) COMMENT 'Retransmission time-outs, SYN and SYN-ACK included',
    ADD COLUMN IF NOT EXISTS tcp_info_total_rto_recoveries UInt32 CODEC(ZSTD(1)) COMMENT 'Recoveries from retransmission time-outs',
    ADD COLUMN IF NOT EXISTS tcp_info_total_rto_time UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Time spent in time-out recovery, milliseconds',
    ADD COLUMN IF NOT EXISTS tcp_info_received_ce UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Segments received with a CE mark',
    ADD COLUMN IF NOT EXISTS tcp_info_delivered_e1_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with an ECT(1) mark, as the peer\'s AccECN option counts them',
    ADD COLUMN IF NOT EXISTS tcp_info_delivered_e0_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with an ECT(0) mark, as the peer\'s AccECN option counts them',
    ADD COLUMN IF NOT EXISTS tcp_info_delivered_ce_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes delivered with a CE mark, as the peer\'s AccECN option counts them',
    ADD COLUMN IF NOT EXISTS tcp_info_received_e1_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with an ECT(1) mark',
    ADD COLUMN IF NOT EXISTS tcp_info_received_e0_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with an ECT(0) mark',
    ADD COLUMN IF NOT EXISTS tcp_info_received_ce_bytes UInt32 CODEC(Delta, ZSTD(1)) COMMENT 'Bytes received with a CE mark',
    ADD COLUMN IF NOT EXISTS tcp_info_accecn_fail_mode UInt32 CODEC(ZSTD(1)) COMMENT 'AccECN failures seen, bits: 1 ACE sent, 2 ACE received, 4 option sent, 8 option received',
    ADD COLUMN IF NOT EXISTS tcp_info_accecn_opt_seen UInt32 CODEC(ZSTD(1)) COMMENT 'AccECN option: 0 not seen, 1 empty, 2 with counters, 3 failed',
    ADD COLUMN IF NOT EXISTS congestion_algorithm_string LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Name of the congestion control',
    ADD COLUMN IF NOT EXISTS congestion_algorithm_enum Enum8('CONGESTION_ALGORITHM_UNSPECIFIED' = 0, 'CONGESTION_ALGORITHM_CUBIC' = 1, 'CONGESTION_ALGORITHM_DCTCP' = 2, 'CONGESTION_ALGORITHM_VEGAS' = 3, 'CONGESTION_ALGORITHM_PRAGUE' = 4, 'CONGESTION_ALGORITHM_BBR1' = 5, 'CONGESTION_ALGORITHM_BBR2' = 6, 'CONGESTION_ALGORITHM_BBR3' = 7) CODEC(ZSTD(1)) COMMENT 'The congestion control, where the contract has a number for it',
    ADD COLUMN IF NOT EXISTS type_of_service UInt32 CODEC(ZSTD(1)) COMMENT 'IPv4 type of service',
    ADD COLUMN IF NOT EXISTS traffic_class UInt32 CODEC(ZSTD(1)) COMMENT 'IPv6 traffic class',
    ADD COLUMN IF NOT EXISTS sk_mem_info_rmem_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Receive memory in use, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_rcv_buf UInt32 CODEC(ZSTD(1)) COMMENT 'Receive buffer, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_wmem_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory in use, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_snd_buf UInt32 CODEC(ZSTD(1)) COMMENT 'Send buffer, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_fwd_alloc UInt32 CODEC(ZSTD(1)) COMMENT 'Memory reserved for later use, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_wmem_queued UInt32 CODEC(ZSTD(1)) COMMENT 'Send memory queued, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_optmem UInt32 CODEC(ZSTD(1)) COMMENT 'Memory of socket options, bytes',
    ADD COLUMN IF NOT EXISTS sk_mem_info_backlog UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes in the backlog queue',
    ADD COLUMN IF NOT EXISTS sk_mem_info_drops UInt32 CODEC(ZSTD(1)) COMMENT 'Packets dropped by the socket',
    ADD COLUMN IF NOT EXISTS shutdown_state UInt32 CODEC(ZSTD(1)) COMMENT 'Directions shut down, bits: 1 receive, 2 send',
    ADD COLUMN IF NOT EXISTS vegas_info_enabled UInt32 CODEC(ZSTD(1)) COMMENT '1 while Vegas is in charge',
    ADD COLUMN IF NOT EXISTS vegas_info_rtt_cnt UInt32 CODEC(ZSTD(1)) COMMENT 'Round-trip times measured in this round',
    ADD COLUMN IF NOT EXISTS vegas_info_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time of the last round, microseconds',
    ADD COLUMN IF NOT EXISTS vegas_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time of the connection, microseconds',
    ADD COLUMN IF NOT EXISTS dctcp_info_enabled UInt32 CODEC(ZSTD(1)) COMMENT '1 while DCTCP is in charge',
    ADD COLUMN IF NOT EXISTS dctcp_info_ce_state UInt32 CODEC(ZSTD(1)) COMMENT '1 when the last segment received had a CE mark',
    ADD COLUMN IF NOT EXISTS dctcp_info_alpha UInt32 CODEC(ZSTD(1)) COMMENT 'Share of marked bytes, as a fraction of 1024',
    ADD COLUMN IF NOT EXISTS dctcp_info_ab_ecn UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes acknowledged with a mark, last window',
    ADD COLUMN IF NOT EXISTS dctcp_info_ab_tot UInt32 CODEC(ZSTD(1)) COMMENT 'Bytes acknowledged, last window',
    ADD COLUMN IF NOT EXISTS bbr_info_bw_lo UInt32 CODEC(ZSTD(1)) COMMENT 'Bandwidth estimate, bytes per second, low 32 bits',
    ADD COLUMN IF NOT EXISTS bbr_info_bw_hi UInt32 CODEC(ZSTD(1)) COMMENT 'Bandwidth estimate, bytes per second, high 32 bits',
    ADD COLUMN IF NOT EXISTS bbr_info_min_rtt UInt32 CODEC(ZSTD(1)) COMMENT 'Smallest round-trip time, microseconds',
    ADD COLUMN IF NOT EXISTS bbr_info_pacing_gain UInt32 CODEC(ZSTD(1)) COMMENT 'Pacing gain, in 1/256',
    ADD COLUMN IF NOT EXISTS bbr_info_cwnd_gain UInt32 CODEC(ZSTD(1)) COMMENT 'Congestion window gain, in 1/256',
    ADD COLUMN IF NOT EXISTS class_id UInt32 CODEC(ZSTD(1)) COMMENT 'Traffic-control class, else the socket\'s priority',
    ADD COLUMN IF NOT EXISTS sock_opt UInt32 CODEC(ZSTD(1)) COMMENT 'struct inet_diag_sockopt as 16 bits, from bit 0: recverr is_icsk freebind hdrincl mc_loop transparent mc_all nodefrag bind_address_no_port recverr_rfc4884 defer_connect',
    ADD COLUMN IF NOT EXISTS c_group UInt64 CODEC(ZSTD(1)) COMMENT 'Id of the cgroup v2 of the socket',
    ADD COLUMN IF NOT EXISTS sk_mark UInt32 CODEC(ZSTD(1)) COMMENT 'SO_MARK; only with CAP_NET_ADMIN',
    ADD COLUMN IF NOT EXISTS sk_v6only UInt32 CODEC(ZSTD(1)) COMMENT '1 for an IPv6 socket that takes no IPv4',
    ADD COLUMN IF NOT EXISTS md5sig_keys UInt32 CODEC(ZSTD(1)) COMMENT 'TCP-MD5 keys of the socket; the keys themselves are not exported; only with CAP_NET_ADMIN',
    ADD COLUMN IF NOT EXISTS ulp_name LowCardinality(String) CODEC(ZSTD(1)) COMMENT 'Upper-layer protocol: tls, mptcp, espintcp, smc',
    ADD COLUMN IF NOT EXISTS ulp_tls_version UInt32 CODEC(ZSTD(1)) COMMENT 'TLS version as on the wire: 771 is 1.2, 772 is 1.3',
    ADD COLUMN IF NOT EXISTS ulp_tls_cipher UInt32 CODEC(ZSTD(1)) COMMENT 'Cipher, include/uapi/linux/tls.h',
    ADD COLUMN IF NOT EXISTS ulp_tls_txconf UInt32 CODEC(ZSTD(1)) COMMENT 'Sending: 1 plain, 2 software, 3 device, 4 device with its own record layer',
    ADD COLUMN IF NOT EXISTS ulp_tls_rxconf UInt32 CODEC(ZSTD(1)) COMMENT 'Receiving: as ulp_tls_txconf',
    ADD COLUMN IF NOT EXISTS ulp_tls_zc_ro_tx UInt32 CODEC(ZSTD(1)) COMMENT '1 when sendfile sends without a copy (TLS_TX_ZEROCOPY_RO)',
    ADD COLUMN IF NOT EXISTS ulp_tls_rx_no_pad UInt32 CODEC(ZSTD(1)) COMMENT '1 when TLS 1.3 records are expected without padding (TLS_RX_EXPECT_NO_PAD)',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_token_rem UInt32 CODEC(ZSTD(1)) COMMENT 'Token of the MPTCP connection at the peer',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_token_loc UInt32 CODEC(ZSTD(1)) COMMENT 'Token of the MPTCP connection here',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_relwrite_seq UInt32 CODEC(ZSTD(1)) COMMENT 'Relative write sequence number of the subflow',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_map_seq UInt64 CODEC(ZSTD(1)) COMMENT 'Data sequence number of the current mapping',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_map_sfseq UInt32 CODEC(ZSTD(1)) COMMENT 'Subflow sequence number of the current mapping',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_ssn_offset UInt32 CODEC(ZSTD(1)) COMMENT 'Offset of the subflow sequence number',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_map_datalen UInt32 CODEC(ZSTD(1)) COMMENT 'Length of the current mapping, bytes',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_flags UInt32 CODEC(ZSTD(1)) COMMENT 'MPTCP_SUBFLOW_FLAG_*, include/uapi/linux/mptcp.h',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_id_rem UInt32 CODEC(ZSTD(1)) COMMENT 'Address id of the peer',
    ADD COLUMN IF NOT EXISTS ulp_mptcp_id_loc UInt32 CODEC(ZSTD(1)) COMMENT 'Address id here',
    ADD COLUMN IF NOT EXISTS source_ip IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, toFixedString(concat(unhex('00000000000000000000FFFF'), substring(inet_diag_msg_socket_source, 1, 4)), 16), inet_diag_msg_socket_source) AS IPv6) CODEC(ZSTD(1)) COMMENT 'Local address',
    ADD COLUMN IF NOT EXISTS destination_ip IPv6 MATERIALIZED CAST(if(inet_diag_msg_family = 2, toFixedString(concat(unhex('00000000000000000000FFFF'), substring(inet_diag_msg_socket_destination, 1, 4)), 16), inet_diag_msg_socket_destination) AS IPv6) CODEC(ZSTD(1)) COMMENT 'Remote address',
    ADD COLUMN IF NOT EXISTS source_ip_text String ALIAS replaceRegexpOne(toString(source_ip), '^::ffff:([0-9]+[.])', '\\1') COMMENT 'Local address as people write it',
    ADD COLUMN IF NOT EXISTS destination_ip_text String ALIAS replaceRegexpOne(toString(destination_ip), '^::ffff:([0-9]+[.])', '\\1') COMMENT 'Remote address as people write it';

-- Messages that are no Envelope, with what the engine said of them. Both ways in from Kafka write
-- here. A message that is read twice is one row after the next merge.
CREATE TABLE IF NOT EXISTS xtcp.dead_letters
(
    received_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When it was put here',
    topic LowCardinality(String) COMMENT 'Kafka topic',
    partition UInt64 COMMENT 'Kafka partition',
    offset UInt64 COMMENT 'Kafka offset in the partition',
    key String COMMENT 'Kafka message key: the identity of the envelope, where xtcp2 wrote it',
    error String COMMENT 'What was wrong with it',
    raw_message String CODEC(ZSTD(1)) COMMENT 'The message, byte for byte'
)
ENGINE = ReplacingMergeTree(received_at)
PARTITION BY toYYYYMM(received_at)
ORDER BY (topic, partition, offset)
TTL toDateTime(received_at) + INTERVAL 30 DAY DELETE
SETTINGS non_replicated_deduplication_window = 10000;

-- A socket's minute: what dashboards over hours and days read. Nothing but smallest and largest
-- values, so that a row that comes twice, even long after the deduplication window, changes nothing.
-- Rows without byte counters (listeners, TIME_WAIT, half-open requests) are not in it: their 0 means
-- absent and would look like a counter that began anew.
CREATE TABLE IF NOT EXISTS xtcp.socket_minutes
(
    hostname LowCardinality(String),
    netns LowCardinality(String),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute',
    inet_diag_msg_socket_cookie UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'Identifies the socket for as long as the machine runs',
    source_port UInt16 CODEC(ZSTD(1)) COMMENT 'Local port',
    destination_ip IPv6 CODEC(ZSTD(1)) COMMENT 'Remote address',
    destination_port UInt16 CODEC(ZSTD(1)) COMMENT 'Remote port',
    bytes_acked_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_acked_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_received_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_received_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_sent_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_sent_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_retrans_min SimpleAggregateFunction(min, UInt64) CODEC(Delta, ZSTD(1)),
    bytes_retrans_max SimpleAggregateFunction(max, UInt64) CODEC(Delta, ZSTD(1)),
    rtt_us_min SimpleAggregateFunction(min, UInt32) CODEC(T64, ZSTD(1)),
    rtt_us_max SimpleAggregateFunction(max, UInt32) CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
PRIMARY KEY (hostname, toStartOfHour(minute), netns, inet_diag_msg_socket_cookie)
ORDER BY (hostname, toStartOfHour(minute), netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port, minute)
TTL minute + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 10000;

CREATE MATERIALIZED VIEW IF NOT EXISTS xtcp.socket_minutes_feed TO xtcp.socket_minutes AS
SELECT
    hostname,
    netns,
    toStartOfMinute(toDateTime(timestamp_ns, 'UTC')) AS minute,
    inet_diag_msg_socket_cookie,
    toUInt16(inet_diag_msg_socket_source_port) AS source_port,
    destination_ip,
    toUInt16(inet_diag_msg_socket_destination_port) AS destination_port,
    min(tcp_info_bytes_acked) AS bytes_acked_min,
    max(tcp_info_bytes_acked) AS bytes_acked_max,
    min(tcp_info_bytes_received) AS bytes_received_min,
    max(tcp_info_bytes_received) AS bytes_received_max,
    min(tcp_info_bytes_sent) AS bytes_sent_min,
    max(tcp_info_bytes_sent) AS bytes_sent_max,
    min(tcp_info_bytes_retrans) AS bytes_retrans_min,
    max(tcp_info_bytes_retrans) AS bytes_retrans_max,
    min(tcp_info_rtt) AS rtt_us_min,
    max(tcp_info_rtt) AS rtt_us_max
FROM xtcp.xtcp_flat_records
WHERE inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 136
GROUP BY hostname, netns, minute, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port;

-- Views. Those with (since, until) take a window of time, until not included:
--     SELECT * FROM xtcp.top_talkers(since = now('UTC') - 300, until = now('UTC')) LIMIT 20
-- They are DateTime64: compared with a DateTime, timestamp_ns would be cut to whole seconds.
-- The kernel's byte counters run from a connection's start, so what passed in a window is the largest
-- value in it less the smallest. What a connection did before its first row in the window is not in it.

-- Every row once, also before doubles have been merged away.
CREATE OR REPLACE VIEW xtcp.rows_once AS
SELECT *, source_ip, destination_ip, source_ip_text, destination_ip_text
FROM xtcp.xtcp_flat_records FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- Who moved the most bytes: one row a connection. Doubles change neither max nor min.
CREATE OR REPLACE VIEW xtcp.top_talkers AS
SELECT
    hostname,
    netns,
    any(source_ip_text) AS source,
    inet_diag_msg_socket_source_port AS source_port,
    any(destination_ip_text) AS destination,
    inet_diag_msg_socket_destination_port AS destination_port,
    max(tcp_info_bytes_acked) - min(tcp_info_bytes_acked) AS bytes_sent,
    max(tcp_info_bytes_received) - min(tcp_info_bytes_received) AS bytes_received,
    bytes_sent + bytes_received AS bytes,
    dateDiff('millisecond', min(timestamp_ns), max(timestamp_ns)) / 1000 AS seconds,
    if(seconds > 0, round(8 * bytes / seconds), 0) AS bits_per_second,
    inet_diag_msg_socket_cookie
FROM xtcp.xtcp_flat_records
WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
    -- Up to the byte counters: in shorter ones they are absent, not 0.
    AND inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 136
GROUP BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port
ORDER BY bytes DESC;

-- Where bytes had to be sent again: one row a namespace and remote address. NULL: nothing was sent.
CREATE OR REPLACE VIEW xtcp.retransmit_rate AS
SELECT
    hostname,
    netns,
    destination,
    count() AS connections,
    sum(sent) AS bytes_sent,
    sum(retransmitted) AS bytes_retransmitted,
    if(bytes_sent > 0, round(100 * bytes_retransmitted / bytes_sent, 3), NULL) AS retransmit_percent,
    sum(timeouts) AS retransmission_timeouts
FROM
(
    SELECT
        hostname,
        netns,
        any(destination_ip_text) AS destination,
        max(tcp_info_bytes_sent) - min(tcp_info_bytes_sent) AS sent,
        max(tcp_info_bytes_retrans) - min(tcp_info_bytes_retrans) AS retransmitted,
        max(tcp_info_total_rto) - min(tcp_info_total_rto) AS timeouts
    FROM xtcp.xtcp_flat_records
    WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
        AND inet_diag_msg_state != 10 AND tcp_info_length_bytes >= 216
    GROUP BY hostname, netns, inet_diag_msg_socket_cookie, inet_diag_msg_socket_source_port, destination_ip,
        inet_diag_msg_socket_destination_port
)
GROUP BY hostname, netns, destination
ORDER BY retransmit_percent DESC NULLS LAST, bytes_retransmitted DESC;

-- Round-trip times: one row a namespace, every established connection weighed by its rows. A double
-- would weigh twice, hence FINAL.
CREATE OR REPLACE VIEW xtcp.rtt_quantiles AS
SELECT
    hostname,
    netns,
    connections,
    samples,
    quantiles[1] AS rtt_us_p50,
    quantiles[2] AS rtt_us_p90,
    quantiles[3] AS rtt_us_p99,
    rtt_us_max
FROM
(
    SELECT
        hostname,
        netns,
        uniqExact(inet_diag_msg_socket_cookie) AS connections,
        count() AS samples,
        -- Exact, in memory that is bounded by the different values: whole microseconds.
        quantilesExactWeighted(0.5, 0.9, 0.99)(tcp_info_rtt, 1) AS quantiles,
        max(tcp_info_rtt) AS rtt_us_max
    FROM xtcp.xtcp_flat_records FINAL
    WHERE timestamp_ns >= {since:DateTime64(9, 'UTC')} AND timestamp_ns < {until:DateTime64(9, 'UTC')}
        AND inet_diag_msg_state = 1 AND tcp_info_rtt > 0
    GROUP BY hostname, netns
)
ORDER BY rtt_us_p99 DESC
SETTINGS do_not_merge_across_partitions_select_final = 1;

-- For dashboards: one row a namespace and minute. What passed is counted from the last row of the
-- connection before the minute, at most an hour back; for its first minute from its first row.
CREATE OR REPLACE VIEW xtcp.namespace_minutes AS
SELECT
    minute,
    hostname,
    netns,
    count() AS connections,
    sum(acked) AS bytes_acked,
    sum(received) AS bytes_received,
    sum(sent) AS bytes_sent,
    sum(retransmitted) AS bytes_retransmitted,
    if(bytes_sent > 0, round(100 * bytes_retransmitted / bytes_sent, 3), NULL) AS retransmit_percent,
    max(rtt_us) AS rtt_us_max
FROM
(
    SELECT
        minute,
        hostname,
        netns,
        max(bytes_acked_max) AS acked_max,
        max(bytes_received_max) AS received_max,
        max(bytes_sent_max) AS sent_max,
        max(bytes_retrans_max) AS retransmitted_max,
        max(rtt_us_max) AS rtt_us,
        acked_max - lagInFrame(acked_max, 1, min(bytes_acked_min)) OVER earlier AS acked,
        received_max - lagInFrame(received_max, 1, min(bytes_received_min)) OVER earlier AS received,
        sent_max - lagInFrame(sent_max, 1, min(bytes_sent_min)) OVER earlier AS sent,
        retransmitted_max - lagInFrame(retransmitted_max, 1, min(bytes_retrans_min)) OVER earlier AS retransmitted
    FROM xtcp.socket_minutes
    WHERE minute >= {since:DateTime64(9, 'UTC')} - INTERVAL 1 HOUR AND minute < {until:DateTime64(9, 'UTC')}
    GROUP BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port, minute
    WINDOW earlier AS (
        PARTITION BY hostname, netns, inet_diag_msg_socket_cookie, source_port, destination_ip, destination_port
        ORDER BY minute ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE minute >= {since:DateTime64(9, 'UTC')}
GROUP BY minute, hostname, netns
ORDER BY minute, hostname, netns;

-- What is missing and what came twice, one row a run of a daemon. It counts copies, so it reads
-- without FINAL. missing_head: rows before the first one here, lost or deleted by age. What is
-- missing behind the last one only the daemon knows (xtcp2_rows_total). Ask with
-- WHERE instance = '...' on large tables: every record_counter is held in memory.
CREATE OR REPLACE VIEW xtcp.reconciliation AS
SELECT
    leftPad(lower(hex(instance_id)), 16, '0') AS instance,
    instance_id,
    any(hostname) AS hostname,
    min(timestamp_ns) AS first_poll,
    max(timestamp_ns) AS last_poll,
    count() AS rows_physical,
    uniqExact(record_counter) AS rows_distinct,
    min(record_counter) AS first_record_counter,
    max(record_counter) AS last_record_counter,
    first_record_counter - 1 AS missing_head,
    last_record_counter - first_record_counter + 1 - rows_distinct AS missing_inside,
    rows_physical - rows_distinct AS doubled
FROM xtcp.xtcp_flat_records
GROUP BY instance_id
ORDER BY last_poll DESC;

-- The same by poll: where it happened. missing_before: rows between the poll that has rows before
-- this one and this one's first row; polls that are missing altogether show here too.
CREATE OR REPLACE VIEW xtcp.reconciliation_per_poll AS
SELECT
    leftPad(lower(hex(instance_id)), 16, '0') AS instance,
    instance_id,
    poll_sequence,
    min(timestamp_ns) AS poll_time,
    count() AS rows_physical,
    uniqExact(record_counter) AS rows_distinct,
    min(record_counter) AS first_record_counter,
    max(record_counter) AS last_record_counter,
    first_record_counter - 1 - lagInFrame(last_record_counter, 1, toUInt64(0)) OVER (
        PARTITION BY instance_id ORDER BY poll_sequence ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS missing_before,
    last_record_counter - first_record_counter + 1 - rows_distinct AS missing_inside,
    rows_physical - rows_distinct AS doubled
FROM xtcp.xtcp_flat_records
GROUP BY instance_id, poll_sequence
ORDER BY instance_id, poll_sequence;
