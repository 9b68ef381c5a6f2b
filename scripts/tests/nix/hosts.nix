# Hosts that scripts/tests/nix.py looks at: those that are right, and one for each assertion.
let
  host = settings: { services.xtcp2 = { enable = true; dest = "kafka:broker:9092"; } // settings; };
in
{
  off = { };
  bare = { services.xtcp2.enable = true; };
  kafka = host { };
  full = host {
    dest = "kafka:broker-1:9092,broker-2:9092";
    frequency = "1m30s";
    topic = "sockets";
    port = 9100;
    openFirewall = true;
    socketActivation = true;
    extraFlags = [ "--label" "100% of $HOME" ];
    capabilities = [ "CAP_SYS_ADMIN" "CAP_NET_ADMIN" ];
    environmentFile = "/run/secrets/xtcp2.env";
    credentials.kafka-password = "/run/secrets/kafka";
    spool.maxBytes = "2GiB";
    kernel.childEhashEntries = 4096;
    settings = {
      location = "ams-4";
      states = [ "ESTABLISHED" "CLOSE_WAIT" ];
      kafka_property = [ "security.protocol=SASL_SSL" "sasl.password=@/run/credentials/xtcp2.service/kafka-password" ];
      poll_jitter_pct = 5;
    };
  };
  # The alias and the key are one option.
  key = { services.xtcp2 = { enable = true; settings.dest = "null"; settings.frequency = "5s"; }; };
  file = host { dest = "file:/var/log/xtcp2/rows.pb"; };
  elsewhere = host { dest = "file:/srv/rows/xtcp2.pb"; } // {
    systemd.services.xtcp2.serviceConfig.ReadWritePaths = [ "/srv/rows" ];
  };
  pipeline = { services.xtcp2.pipeline.enable = true; };

  wrong-firewall = host { openFirewall = true; settings.prom_listen = "127.0.0.1:9088"; };
  wrong-port = host { openFirewall = true; settings.prom_listen = ":9100"; };
  wrong-socket = host { socketActivation = true; settings.prom_listen = "none"; };
  wrong-spool = host { dest = "null"; spool.enable = true; };
  wrong-spool-dir = host { settings.spool_dir = "/srv/spool"; };
  wrong-file = host { dest = "file:/var/log/xtcp2-rows.pb"; };
  wrong-record = host { settings.record = "/tmp/kernel.pcapng"; };
  wrong-pipeline-dest = { services.xtcp2 = { pipeline.enable = true; dest = "null"; }; };
  wrong-pipeline-marshal = { services.xtcp2 = { pipeline.enable = true; settings.marshal = "json"; }; };
}
