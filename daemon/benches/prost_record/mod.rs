//! The messages of proto/xtcp_flat_record.proto as prost would have them generated, for a bench to compare with. It decodes
//! an envelope of ours with them and checks that they write the same bytes again: no field is missing.

#![allow(missing_docs, reason = "what they mean is in the .proto")]

#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    #[prost(message, repeated, tag = "10")]
    pub row: Vec<XtcpFlatRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct XtcpFlatRecord {
    #[prost(uint32, tag = "1")]
    pub schema_version: u32,
    #[prost(string, tag = "2")]
    pub daemon_version: String,
    #[prost(int64, tag = "10")]
    pub timestamp_ns: i64,
    #[prost(string, tag = "20")]
    pub hostname: String,
    #[prost(string, tag = "21")]
    pub location: String,
    #[prost(string, tag = "30")]
    pub netns: String,
    #[prost(uint64, tag = "31")]
    pub netns_inode: u64,
    #[prost(uint32, tag = "32")]
    pub nsid: u32,
    #[prost(string, tag = "40")]
    pub container_id: String,
    #[prost(string, tag = "41")]
    pub container_runtime: String,
    #[prost(string, tag = "42")]
    pub container_name: String,
    #[prost(string, tag = "43")]
    pub container_image: String,
    #[prost(string, tag = "50")]
    pub label: String,
    #[prost(string, tag = "51")]
    pub tag: String,
    #[prost(uint64, tag = "60")]
    pub record_counter: u64,
    #[prost(uint64, tag = "61")]
    pub socket_fd: u64,
    #[prost(uint64, tag = "62")]
    pub netlinker_id: u64,
    #[prost(uint64, tag = "70")]
    pub instance_id: u64,
    #[prost(uint64, tag = "71")]
    pub poll_sequence: u64,
    #[prost(uint64, tag = "73")]
    pub netns_cookie: u64,
    #[prost(uint32, tag = "74")]
    pub inet_diag_attributes: u32,
    #[prost(uint32, tag = "75")]
    pub tcp_info_length_bytes: u32,
    #[prost(string, tag = "100")]
    pub uplink1_ifname: String,
    #[prost(string, tag = "101")]
    pub uplink1_nic_driver: String,
    #[prost(string, tag = "102")]
    pub uplink1_nic_model: String,
    #[prost(uint32, tag = "103")]
    pub uplink1_nic_pci_vendor: u32,
    #[prost(uint32, tag = "104")]
    pub uplink1_nic_pci_device: u32,
    #[prost(string, tag = "105")]
    pub uplink1_nic_bus_info: String,
    #[prost(uint32, tag = "106")]
    pub uplink1_nic_speed_mbps: u32,
    #[prost(string, tag = "107")]
    pub uplink1_nic_fw_version: String,
    #[prost(string, tag = "120")]
    pub uplink1_lldp_chassis_name: String,
    #[prost(string, tag = "121")]
    pub uplink1_lldp_chassis_id: String,
    #[prost(string, tag = "122")]
    pub uplink1_lldp_mgmt_ip: String,
    #[prost(string, tag = "123")]
    pub uplink1_lldp_port_id: String,
    #[prost(string, tag = "124")]
    pub uplink1_lldp_port_descr: String,
    #[prost(string, tag = "200")]
    pub uplink2_ifname: String,
    #[prost(string, tag = "201")]
    pub uplink2_nic_driver: String,
    #[prost(string, tag = "202")]
    pub uplink2_nic_model: String,
    #[prost(uint32, tag = "203")]
    pub uplink2_nic_pci_vendor: u32,
    #[prost(uint32, tag = "204")]
    pub uplink2_nic_pci_device: u32,
    #[prost(string, tag = "205")]
    pub uplink2_nic_bus_info: String,
    #[prost(uint32, tag = "206")]
    pub uplink2_nic_speed_mbps: u32,
    #[prost(string, tag = "207")]
    pub uplink2_nic_fw_version: String,
    #[prost(string, tag = "220")]
    pub uplink2_lldp_chassis_name: String,
    #[prost(string, tag = "221")]
    pub uplink2_lldp_chassis_id: String,
    #[prost(string, tag = "222")]
    pub uplink2_lldp_mgmt_ip: String,
    #[prost(string, tag = "223")]
    pub uplink2_lldp_port_id: String,
    #[prost(string, tag = "224")]
    pub uplink2_lldp_port_descr: String,
    #[prost(uint32, tag = "1001")]
    pub inet_diag_msg_family: u32,
    #[prost(uint32, tag = "1002")]
    pub inet_diag_msg_state: u32,
    #[prost(uint32, tag = "1003")]
    pub inet_diag_msg_timer: u32,
    #[prost(uint32, tag = "1004")]
    pub inet_diag_msg_retrans: u32,
    #[prost(uint32, tag = "1005")]
    pub inet_diag_msg_socket_source_port: u32,
    #[prost(uint32, tag = "1006")]
    pub inet_diag_msg_socket_destination_port: u32,
    #[prost(bytes = "vec", tag = "1007")]
    pub inet_diag_msg_socket_source: Vec<u8>,
    #[prost(bytes = "vec", tag = "1008")]
    pub inet_diag_msg_socket_destination: Vec<u8>,
    #[prost(uint32, tag = "1009")]
    pub inet_diag_msg_socket_interface: u32,
    #[prost(uint64, tag = "1010")]
    pub inet_diag_msg_socket_cookie: u64,
    #[prost(uint64, tag = "1011")]
    pub inet_diag_msg_socket_dest_asn: u64,
    #[prost(uint64, tag = "1012")]
    pub inet_diag_msg_socket_next_hop_asn: u64,
    #[prost(uint32, tag = "1013")]
    pub inet_diag_msg_expires: u32,
    #[prost(uint32, tag = "1014")]
    pub inet_diag_msg_rqueue: u32,
    #[prost(uint32, tag = "1015")]
    pub inet_diag_msg_wqueue: u32,
    #[prost(uint32, tag = "1016")]
    pub inet_diag_msg_uid: u32,
    #[prost(uint32, tag = "1017")]
    pub inet_diag_msg_inode: u32,
    #[prost(uint32, tag = "1101")]
    pub mem_info_rmem: u32,
    #[prost(uint32, tag = "1102")]
    pub mem_info_wmem: u32,
    #[prost(uint32, tag = "1103")]
    pub mem_info_fmem: u32,
    #[prost(uint32, tag = "1104")]
    pub mem_info_tmem: u32,
    #[prost(uint32, tag = "1201")]
    pub tcp_info_state: u32,
    #[prost(uint32, tag = "1202")]
    pub tcp_info_ca_state: u32,
    #[prost(uint32, tag = "1203")]
    pub tcp_info_retransmits: u32,
    #[prost(uint32, tag = "1204")]
    pub tcp_info_probes: u32,
    #[prost(uint32, tag = "1205")]
    pub tcp_info_backoff: u32,
    #[prost(uint32, tag = "1206")]
    pub tcp_info_options: u32,
    #[prost(uint32, tag = "1207")]
    pub tcp_info_send_scale: u32,
    #[prost(uint32, tag = "1208")]
    pub tcp_info_rcv_scale: u32,
    #[prost(uint32, tag = "1209")]
    pub tcp_info_delivery_rate_app_limited: u32,
    #[prost(uint32, tag = "1210")]
    pub tcp_info_fast_open_client_failed: u32,
    #[prost(uint32, tag = "1215")]
    pub tcp_info_rto: u32,
    #[prost(uint32, tag = "1216")]
    pub tcp_info_ato: u32,
    #[prost(uint32, tag = "1217")]
    pub tcp_info_snd_mss: u32,
    #[prost(uint32, tag = "1218")]
    pub tcp_info_rcv_mss: u32,
    #[prost(uint32, tag = "1219")]
    pub tcp_info_unacked: u32,
    #[prost(uint32, tag = "1220")]
    pub tcp_info_sacked: u32,
    #[prost(uint32, tag = "1221")]
    pub tcp_info_lost: u32,
    #[prost(uint32, tag = "1222")]
    pub tcp_info_retrans: u32,
    #[prost(uint32, tag = "1223")]
    pub tcp_info_fackets: u32,
    #[prost(uint32, tag = "1224")]
    pub tcp_info_last_data_sent: u32,
    #[prost(uint32, tag = "1225")]
    pub tcp_info_last_ack_sent: u32,
    #[prost(uint32, tag = "1226")]
    pub tcp_info_last_data_recv: u32,
    #[prost(uint32, tag = "1227")]
    pub tcp_info_last_ack_recv: u32,
    #[prost(uint32, tag = "1228")]
    pub tcp_info_pmtu: u32,
    #[prost(uint32, tag = "1229")]
    pub tcp_info_rcv_ssthresh: u32,
    #[prost(uint32, tag = "1230")]
    pub tcp_info_rtt: u32,
    #[prost(uint32, tag = "1231")]
    pub tcp_info_rtt_var: u32,
    #[prost(uint32, tag = "1232")]
    pub tcp_info_snd_ssthresh: u32,
    #[prost(uint32, tag = "1233")]
    pub tcp_info_snd_cwnd: u32,
    #[prost(uint32, tag = "1234")]
    pub tcp_info_adv_mss: u32,
    #[prost(uint32, tag = "1235")]
    pub tcp_info_reordering: u32,
    #[prost(uint32, tag = "1236")]
    pub tcp_info_rcv_rtt: u32,
    #[prost(uint32, tag = "1237")]
    pub tcp_info_rcv_space: u32,
    #[prost(uint32, tag = "1238")]
    pub tcp_info_total_retrans: u32,
    #[prost(uint64, tag = "1239")]
    pub tcp_info_pacing_rate: u64,
    #[prost(uint64, tag = "1240")]
    pub tcp_info_max_pacing_rate: u64,
    #[prost(uint64, tag = "1241")]
    pub tcp_info_bytes_acked: u64,
    #[prost(uint64, tag = "1242")]
    pub tcp_info_bytes_received: u64,
    #[prost(uint32, tag = "1243")]
    pub tcp_info_segs_out: u32,
    #[prost(uint32, tag = "1244")]
    pub tcp_info_segs_in: u32,
    #[prost(uint32, tag = "1245")]
    pub tcp_info_not_sent_bytes: u32,
    #[prost(uint32, tag = "1246")]
    pub tcp_info_min_rtt: u32,
    #[prost(uint32, tag = "1247")]
    pub tcp_info_data_segs_in: u32,
    #[prost(uint32, tag = "1248")]
    pub tcp_info_data_segs_out: u32,
    #[prost(uint64, tag = "1249")]
    pub tcp_info_delivery_rate: u64,
    #[prost(uint64, tag = "1250")]
    pub tcp_info_busy_time: u64,
    #[prost(uint64, tag = "1251")]
    pub tcp_info_rwnd_limited: u64,
    #[prost(uint64, tag = "1252")]
    pub tcp_info_sndbuf_limited: u64,
    #[prost(uint32, tag = "1253")]
    pub tcp_info_delivered: u32,
    #[prost(uint32, tag = "1254")]
    pub tcp_info_delivered_ce: u32,
    #[prost(uint64, tag = "1255")]
    pub tcp_info_bytes_sent: u64,
    #[prost(uint64, tag = "1256")]
    pub tcp_info_bytes_retrans: u64,
    #[prost(uint32, tag = "1257")]
    pub tcp_info_dsack_dups: u32,
    #[prost(uint32, tag = "1258")]
    pub tcp_info_reord_seen: u32,
    #[prost(uint32, tag = "1259")]
    pub tcp_info_rcv_ooopack: u32,
    #[prost(uint32, tag = "1260")]
    pub tcp_info_snd_wnd: u32,
    #[prost(uint32, tag = "1261")]
    pub tcp_info_rcv_wnd: u32,
    #[prost(uint32, tag = "1262")]
    pub tcp_info_rehash: u32,
    #[prost(uint32, tag = "1263")]
    pub tcp_info_total_rto: u32,
    #[prost(uint32, tag = "1264")]
    pub tcp_info_total_rto_recoveries: u32,
    #[prost(uint32, tag = "1265")]
    pub tcp_info_total_rto_time: u32,
    #[prost(uint32, tag = "1266")]
    pub tcp_info_received_ce: u32,
    #[prost(uint32, tag = "1267")]
    pub tcp_info_delivered_e1_bytes: u32,
    #[prost(uint32, tag = "1268")]
    pub tcp_info_delivered_e0_bytes: u32,
    #[prost(uint32, tag = "1269")]
    pub tcp_info_delivered_ce_bytes: u32,
    #[prost(uint32, tag = "1270")]
    pub tcp_info_received_e1_bytes: u32,
    #[prost(uint32, tag = "1271")]
    pub tcp_info_received_e0_bytes: u32,
    #[prost(uint32, tag = "1272")]
    pub tcp_info_received_ce_bytes: u32,
    #[prost(uint32, tag = "1273")]
    pub tcp_info_accecn_fail_mode: u32,
    #[prost(uint32, tag = "1274")]
    pub tcp_info_accecn_opt_seen: u32,
    #[prost(string, tag = "1300")]
    pub congestion_algorithm_string: String,
    #[prost(int32, tag = "1301")]
    pub congestion_algorithm_enum: i32,
    #[prost(uint32, tag = "1401")]
    pub type_of_service: u32,
    #[prost(uint32, tag = "1402")]
    pub traffic_class: u32,
    #[prost(uint32, tag = "1501")]
    pub sk_mem_info_rmem_alloc: u32,
    #[prost(uint32, tag = "1502")]
    pub sk_mem_info_rcv_buf: u32,
    #[prost(uint32, tag = "1503")]
    pub sk_mem_info_wmem_alloc: u32,
    #[prost(uint32, tag = "1504")]
    pub sk_mem_info_snd_buf: u32,
    #[prost(uint32, tag = "1505")]
    pub sk_mem_info_fwd_alloc: u32,
    #[prost(uint32, tag = "1506")]
    pub sk_mem_info_wmem_queued: u32,
    #[prost(uint32, tag = "1507")]
    pub sk_mem_info_optmem: u32,
    #[prost(uint32, tag = "1508")]
    pub sk_mem_info_backlog: u32,
    #[prost(uint32, tag = "1509")]
    pub sk_mem_info_drops: u32,
    #[prost(uint32, tag = "1600")]
    pub shutdown_state: u32,
    #[prost(uint32, tag = "1701")]
    pub vegas_info_enabled: u32,
    #[prost(uint32, tag = "1702")]
    pub vegas_info_rtt_cnt: u32,
    #[prost(uint32, tag = "1703")]
    pub vegas_info_rtt: u32,
    #[prost(uint32, tag = "1704")]
    pub vegas_info_min_rtt: u32,
    #[prost(uint32, tag = "1801")]
    pub dctcp_info_enabled: u32,
    #[prost(uint32, tag = "1802")]
    pub dctcp_info_ce_state: u32,
    #[prost(uint32, tag = "1803")]
    pub dctcp_info_alpha: u32,
    #[prost(uint32, tag = "1804")]
    pub dctcp_info_ab_ecn: u32,
    #[prost(uint32, tag = "1805")]
    pub dctcp_info_ab_tot: u32,
    #[prost(uint32, tag = "1901")]
    pub bbr_info_bw_lo: u32,
    #[prost(uint32, tag = "1902")]
    pub bbr_info_bw_hi: u32,
    #[prost(uint32, tag = "1903")]
    pub bbr_info_min_rtt: u32,
    #[prost(uint32, tag = "1904")]
    pub bbr_info_pacing_gain: u32,
    #[prost(uint32, tag = "1905")]
    pub bbr_info_cwnd_gain: u32,
    #[prost(uint32, tag = "2001")]
    pub class_id: u32,
    #[prost(uint32, tag = "2002")]
    pub sock_opt: u32,
    #[prost(uint64, tag = "2103")]
    pub c_group: u64,
    #[prost(uint32, tag = "2200")]
    pub sk_mark: u32,
    #[prost(uint32, tag = "2201")]
    pub sk_v6only: u32,
    #[prost(uint32, tag = "2202")]
    pub md5sig_keys: u32,
    #[prost(string, tag = "2210")]
    pub ulp_name: String,
    #[prost(uint32, tag = "2211")]
    pub ulp_tls_version: u32,
    #[prost(uint32, tag = "2212")]
    pub ulp_tls_cipher: u32,
    #[prost(uint32, tag = "2213")]
    pub ulp_tls_txconf: u32,
    #[prost(uint32, tag = "2214")]
    pub ulp_tls_rxconf: u32,
    #[prost(uint32, tag = "2215")]
    pub ulp_tls_zc_ro_tx: u32,
    #[prost(uint32, tag = "2216")]
    pub ulp_tls_rx_no_pad: u32,
    #[prost(uint32, tag = "2221")]
    pub ulp_mptcp_token_rem: u32,
    #[prost(uint32, tag = "2222")]
    pub ulp_mptcp_token_loc: u32,
    #[prost(uint32, tag = "2223")]
    pub ulp_mptcp_relwrite_seq: u32,
    #[prost(uint64, tag = "2224")]
    pub ulp_mptcp_map_seq: u64,
    #[prost(uint32, tag = "2225")]
    pub ulp_mptcp_map_sfseq: u32,
    #[prost(uint32, tag = "2226")]
    pub ulp_mptcp_ssn_offset: u32,
    #[prost(uint32, tag = "2227")]
    pub ulp_mptcp_map_datalen: u32,
    #[prost(uint32, tag = "2228")]
    pub ulp_mptcp_flags: u32,
    #[prost(uint32, tag = "2229")]
    pub ulp_mptcp_id_rem: u32,
    #[prost(uint32, tag = "2230")]
    pub ulp_mptcp_id_loc: u32,
}
