# services.xtcp2.pipeline: everything behind the daemon, on the same host. A broker, ClickHouse with our tables, Prometheus
# with our alerts, Grafana with our dashboards. For one host, for trying, and as a pattern for more: each service keeps its
# own options. Apache Kafka and not Redpanda, since that is what every nixpkgs has a module for.
{ config, lib, pkgs, ... }:
let
  xtcp2 = config.services.xtcp2;
  kafka = config.services.apache-kafka;
  inherit (xtcp2.settings) topic;

  broker = "127.0.0.1:9092";
  controller = "127.0.0.1:9093";
  exe = lib.getExe xtcp2.package;
  metricsPath = xtcp2.settings.prom_path;
  secretKey = "${config.services.grafana.dataDir}/secret-key";
  topicName = if topic == null then "xtcp" else topic;
in
{
  imports = [ ./xtcp2.nix ];

  options.services.xtcp2.pipeline.enable = lib.mkEnableOption ''
    a pipeline for xtcp2 on this host: Apache Kafka (127.0.0.1:9092), ClickHouse (127.0.0.1:8123), Prometheus
    (127.0.0.1:9090) and Grafana (127.0.0.1:3000)'';

  config = lib.mkIf xtcp2.pipeline.enable {
    assertions = [
      {
        assertion = lib.hasPrefix "kafka:" (toString xtcp2.dest);
        message = ''
          services.xtcp2.pipeline.enable = true reads rows from its broker, but services.xtcp2.dest = "${toString xtcp2.dest}"
          sends them elsewhere: leave dest unset, or set pipeline.enable = false.
        '';
      }
      {
        assertion = lib.elem xtcp2.settings.marshal [ null "protobufList" ];
        message = ''
          services.xtcp2.pipeline.enable = true reads protobufList, but services.xtcp2.settings.marshal =
          "${toString xtcp2.settings.marshal}": leave marshal unset, or set pipeline.enable = false.
        '';
      }
    ];

    services.xtcp2.enable = lib.mkDefault true;
    # An address and not a name: one bootstrap address is one thread of librdkafka, and localhost has two.
    services.xtcp2.dest = lib.mkDefault "kafka:${broker}";

    # --- the broker: one node, controller too

    services.apache-kafka = {
      enable = true;
      # Names a cluster of one node, so it may be the same on every host.
      clusterId = lib.mkDefault "eHRjcDItcGlwZWxpbmUtMQ";
      formatLogDirs = lib.mkDefault true;
      settings = lib.mapAttrs (_: lib.mkDefault) {
        "listeners" = [ "PLAINTEXT://${broker}" "CONTROLLER://${controller}" ];
        "process.roles" = [ "broker" "controller" ];
        "node.id" = 1;
        "controller.quorum.voters" = [ "1@${controller}" ];
        "controller.listener.names" = [ "CONTROLLER" ];
        "listener.security.protocol.map" = [ "PLAINTEXT:PLAINTEXT" "CONTROLLER:PLAINTEXT" ];
        "log.dirs" = [ "/var/lib/apache-kafka" ];
        # There are no others to hold copies.
        "offsets.topic.replication.factor" = 1;
        "transaction.state.log.replication.factor" = 1;
        "transaction.state.log.min.isr" = 1;
        "share.coordinator.state.topic.replication.factor" = 1;
        "share.coordinator.state.topic.min.isr" = 1;
        # A misspelt topic is an error, and not a second one that nobody reads.
        "auto.create.topics.enable" = false;
      };
    };

    # --- ClickHouse

    services.clickhouse.enable = true;
    # The format of the rows, by the program that makes them. A file of the server's own folder: it reads no other. When it
    # changes, so does the path of the program: the server is restarted, and forgets the old one.
    systemd.services.clickhouse.preStart = ''
      mkdir -p /var/lib/clickhouse/format_schemas
      ${exe} schema clickhouse-proto > /var/lib/clickhouse/format_schemas/XtcpFlatRecord.proto
    '';

    # Topic and tables. Every statement can be said again, and is, at each boot and whenever the package changes; offsets are
    # the broker's, so consumption goes on where it was (docs/clickhouse.md).
    systemd.services.xtcp2-pipeline = {
      description = "Topic and tables of xtcp2";
      wantedBy = [ "multi-user.target" ];
      requires = [ "apache-kafka.service" "clickhouse.service" ];
      after = [ "apache-kafka.service" "clickhouse.service" ];
      path = [ kafka.package config.services.clickhouse.package ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        DynamicUser = true;
        # Kafka's unit is "started" before the broker is.
        Restart = "on-failure";
        RestartSec = "5s";
      };
      script = ''
        set -o pipefail
        kafka-topics.sh --bootstrap-server ${broker} --create --if-not-exists \
          --topic ${lib.escapeShellArg topicName} --partitions 3 --replication-factor 1
        ${exe} schema clickhouse | clickhouse-client
        ${exe} schema clickhouse-kafka |
          sed ${lib.escapeShellArg "s/kafka_topic_list = 'xtcp'/kafka_topic_list = '${topicName}'/"} | clickhouse-client
      '';
    };

    # --- Prometheus

    services.prometheus = {
      enable = true;
      # As the others: nothing of this is there for the network.
      listenAddress = lib.mkDefault "127.0.0.1";
      scrapeConfigs = [
        {
          # The alerts go by this name.
          job_name = "xtcp2";
          metrics_path = if metricsPath == null then "/metrics" else metricsPath;
          static_configs = [ { targets = [ "127.0.0.1:${toString xtcp2.port}" ]; } ];
        }
      ];
      ruleFiles = [ ./alerts.yaml ];
    };

    # --- Grafana

    services.grafana = {
      enable = true;
      declarativePlugins = [ pkgs.grafanaPlugins.grafana-clickhouse-datasource ];
      # It encrypts secrets of data sources, and these have none; nixpkgs asks for a key of one's own all the same.
      settings.security.secret_key = lib.mkDefault "$__file{${secretKey}}";
      provision = {
        enable = true;
        # The dashboards name the sources by uid.
        datasources.settings.datasources = [
          {
            name = "xtcp2 metrics";
            uid = "xtcp2-prometheus";
            type = "prometheus";
            url = "http://127.0.0.1:${toString config.services.prometheus.port}";
          }
          {
            name = "xtcp2 rows";
            uid = "xtcp2-clickhouse";
            type = "grafana-clickhouse-datasource";
            jsonData = { host = "127.0.0.1"; port = 8123; protocol = "http"; };
          }
        ];
        dashboards.settings.providers = [
          {
            name = "xtcp2";
            options.path = ./dashboards;
          }
        ];
      };
    };
    systemd.services.grafana.preStart = lib.mkBefore ''
      [ -e ${secretKey} ] || (umask 077 && head -c 32 /dev/urandom | base64 -w 0 > ${secretKey})
    '';
  };
}
