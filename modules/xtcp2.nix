# services.xtcp2: the daemon on NixOS. The unit is modules/xtcp2.service, which the package ships; here is only what
# a host says differently. docs/nixos.md goes through it.
{ config, lib, options, pkgs, utils, ... }:
let
  inherit (lib) mkIf mkOption types;
  cfg = config.services.xtcp2;
  settings = cfg.settings;

  # What the unit's ProtectSystem=strict leaves writable, and what the host adds.
  readWritePaths = config.systemd.services.xtcp2.serviceConfig.ReadWritePaths or [ ];
  writable = [ "/var/lib/xtcp2" "/var/log/xtcp2" ] ++ lib.toList readWritePaths;
  isWritable = path: lib.any (folder: path == folder || lib.hasPrefix "${folder}/" path) writable;

  dest = if settings.dest == null then "null" else settings.dest;
  # As the daemon tells them apart: what is not on the network cannot be away.
  isNetwork = !(lib.elem dest [ "stdout" "stderr" "null" ] || lib.hasPrefix "file:" dest);

  listen = settings.prom_listen;
  isLoopback = lib.any (host: lib.hasPrefix host listen) [ "127." "[::1]" "localhost:" ];
  # systemd's spelling of ":9088".
  listenStream = lib.removePrefix ":" listen;

  arguments = file: [ "--config" "${file}" ] ++ cfg.extraFlags;
  given = lib.filterAttrs (_: value: value != null) (settings // { inherit dest; });
  unchecked = (pkgs.formats.toml { }).generate "xtcp2.toml" given;
  # Read by the very program that will run, with its flags: a slip fails the build and not the host. --print-config
  # and not `check`, which tries to reach the receiver and looks at the kernel, and a build has neither.
  checked = pkgs.runCommand "xtcp2.toml" { } ''
    ${lib.getExe cfg.package} ${lib.escapeShellArgs (arguments unchecked)} --print-config > effective.toml
    cp ${unchecked} $out
  '';
  # A program for another machine cannot be run while building.
  canRun = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  file = if canRun then checked else unchecked;

  keys = import ./settings.nix { inherit lib; };
  # A key under a second name: the same type, the same value, whichever of the two was set.
  alias =
    key:
    mkOption {
      inherit (keys.${key}) type default description;
      apply = _: settings.${key};
    };
  # With its priority: the default of one must not meet the value of the other.
  same = lib.modules.mkAliasAndWrapDefsWithPriority lib.id;
in
{
  options.services.xtcp2 = {
    enable = lib.mkEnableOption "xtcp2, which reports every TCP socket of every network namespace";

    package = lib.mkPackageOption pkgs "xtcp2" { };

    settings = mkOption {
      type = types.submodule {
        # For keys of a newer package; one that it does not know fails the build, saying what was perhaps meant.
        freeformType = with types; attrsOf (nullOr (oneOf [ str int (listOf str) ]));
        options = keys;
      };
      default = { };
      example = {
        dest = "kafka:broker-1:9092,broker-2:9092";
        location = "ams-4";
        states = [ "ESTABLISHED" "CLOSE_WAIT" ];
      };
      description = ''
        The configuration file: `xtcp2 --help` explains every key. What is null is left out, and has the daemon's own
        default. The file lies in the world-readable store: secrets are named by file, see
        {option}`services.xtcp2.credentials`.
      '';
    };

    # What most hosts set, without the word settings in between.
    dest = alias "dest";
    frequency = alias "frequency";
    topic = alias "topic";
    spool.maxBytes = alias "spool_max_bytes";

    port = mkOption {
      type = types.port;
      default = 9088;
      description = "Port of the admin server, for {option}`settings.prom_listen` where that is not set.";
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether others may reach the admin server: it then listens on all addresses instead of 127.0.0.1, and the
        firewall lets its port through. It has no authentication.
      '';
    };

    socketActivation = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether systemd holds the admin port (xtcp2.socket): scrapes then wait while the daemon is restarted or upgraded,
        instead of being refused. A scrape also starts a daemon that was stopped.
      '';
    };

    extraFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "--log-level" "debug" ];
      description = "Flags behind `--config`. They come before the file and the environment.";
    };

    capabilities = mkOption {
      type = types.listOf (types.enum [
        "CAP_SYS_ADMIN" "CAP_SYS_PTRACE" "CAP_DAC_READ_SEARCH" "CAP_NET_ADMIN" "CAP_NET_BROADCAST"
      ]);
      default = [ "CAP_SYS_ADMIN" "CAP_SYS_PTRACE" "CAP_DAC_READ_SEARCH" ];
      description = ''
        What the daemon may do. It runs with less, and sees less: without CAP_SYS_ADMIN only its own namespace, without
        CAP_SYS_PTRACE no namespace that only a process of others holds, without CAP_DAC_READ_SEARCH nothing in folders of
        mode 0700, as /run/docker is. CAP_NET_ADMIN fills sk_mark and md5sig_keys; CAP_NET_BROADCAST has no use yet.
      '';
    };

    spool.enable = mkOption {
      type = types.bool;
      default = isNetwork;
      defaultText = lib.literalMD "whether {option}`dest` is on the network";
      description = ''
        Whether messages wait on disk, in /var/lib/xtcp2, for a receiver that is away: they outlive restarts, kills and
        power cuts. {option}`services.xtcp2.spool.maxBytes` bounds them.
      '';
    };

    environmentFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/secrets/xtcp2.env";
      description = ''
        File with lines like `XTCP2_LOCATION=ams-4`, read when the service starts. They come before the configuration file.
        Other users can see none of it, so it may hold what the store must not.
      '';
    };

    credentials = mkOption {
      type = types.attrsOf types.path;
      default = { };
      example = { kafka-password = "/run/secrets/kafka-password"; };
      description = ''
        Secrets, by name: files that only root may read, which systemd passes to the daemon. Settings name them as
        /run/credentials/xtcp2.service/NAME, with an @ in front in
        `settings.kafka_property = [ "sasl.password=@/run/credentials/xtcp2.service/kafka-password" ]`.
      '';
    };

    kernel.childEhashEntries = mkOption {
      type = types.nullOr (types.ints.between 1 16777216);
      default = null;
      example = 4096;
      description = ''
        Sets net.ipv4.tcp_child_ehash_entries: network namespaces that are made from then on have a table of established
        connections of their own, of so many entries, rounded up to a power of two. By default all share the host's, and
        walking one namespace passes the sockets of all. xtcp2 avoids most walks by asking for sockets it knows: this is for
        hosts whose connections change faster than they are polled. There a poll of 200 namespaces of 100 sockets took 0.11 s
        of the processor with 4,096 entries, and 1.5 s with the shared table (docs/performance.md). It costs 8 bytes an entry
        and namespace. null leaves the kernel alone.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.openFirewall -> !isLoopback && lib.hasSuffix ":${toString cfg.port}" listen;
        message = ''
          services.xtcp2.openFirewall opens port ${toString cfg.port}, but services.xtcp2.settings.prom_listen = "${listen}"
          does not listen there: leave prom_listen unset and choose services.xtcp2.port, or set openFirewall = false.
        '';
      }
      {
        assertion = cfg.socketActivation -> listen != "none" && listen != "";
        message = ''
          services.xtcp2.socketActivation needs an address, but services.xtcp2.settings.prom_listen = "${listen}" is none:
          leave prom_listen unset, or set socketActivation = false.
        '';
      }
      {
        assertion = cfg.spool.enable -> isNetwork;
        message = ''
          services.xtcp2.spool.enable = true, but services.xtcp2.dest = "${dest}" is not on the network, and is never away:
          set spool.enable = false, or a dest such as "kafka:broker:9092".
        '';
      }
      {
        assertion = settings.spool_dir == null || isWritable settings.spool_dir;
        message = ''
          services.xtcp2.settings.spool_dir = "${toString settings.spool_dir}" is read-only for the service: leave it unset
          for /var/lib/xtcp2; a disk of its own goes to /var/lib/private/xtcp2, where that leads.
        '';
      }
      {
        assertion = lib.hasPrefix "file:" dest -> isWritable (lib.removePrefix "file:" dest);
        message = ''
          services.xtcp2.dest = "${dest}" is read-only for the service: choose a file below /var/log/xtcp2, such as
          "file:/var/log/xtcp2/rows.pb", or add its folder to systemd.services.xtcp2.serviceConfig.ReadWritePaths.
        '';
      }
      {
        assertion = settings.record == null || isWritable settings.record;
        message = ''
          services.xtcp2.settings.record = "${toString settings.record}" is read-only for the service: choose a file below
          /var/log/xtcp2, such as "/var/log/xtcp2/kernel.pcapng".
        '';
      }
    ];
    warnings = lib.optional (settings.dest == null) ''
      services.xtcp2.dest is not set: sockets are polled and counted in /metrics, and rows are discarded. Set it to
      "kafka:broker:9092", say, or to "null" if that is what you want.
    '';

    services.xtcp2.settings = {
      dest = same options.services.xtcp2.dest;
      frequency = same options.services.xtcp2.frequency;
      topic = same options.services.xtcp2.topic;
      spool_max_bytes = same options.services.xtcp2.spool.maxBytes;
      prom_listen = lib.mkDefault "${lib.optionalString (!cfg.openFirewall) "127.0.0.1"}:${toString cfg.port}";
      spool_dir = mkIf cfg.spool.enable (lib.mkDefault "/var/lib/xtcp2");
    };

    # Where the manual says it is, for `xtcp2 check --config /etc/xtcp2/xtcp2.toml`.
    environment.etc."xtcp2/xtcp2.toml".source = file;
    environment.systemPackages = [ cfg.package ];

    systemd.packages = [ cfg.package ];
    systemd.services.xtcp2 = {
      overrideStrategy = "asDropin";
      # NixOS passes over [Install].
      wantedBy = [ "multi-user.target" ];
      serviceConfig = {
        # The empty entry takes the unit's own away; a second one would be an error. The path of the file changes with
        # its content, so a change restarts the daemon: some settings cannot be reloaded.
        ExecStart = [
          ""
          "${lib.getExe cfg.package} ${utils.escapeSystemdExecArgs (arguments file)}"
        ];
        # There is no /bin/kill here.
        ExecReload = [
          ""
          "${pkgs.coreutils}/bin/kill -HUP $MAINPID"
        ];
        AmbientCapabilities = [ "" (toString cfg.capabilities) ];
        CapabilityBoundingSet = [ "" (toString cfg.capabilities) ];
        EnvironmentFile = mkIf (cfg.environmentFile != null) [ cfg.environmentFile ];
        LoadCredential = mkIf (cfg.credentials != { }) (lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials);
      };
    };
    systemd.sockets.xtcp2 = mkIf cfg.socketActivation {
      overrideStrategy = "asDropin";
      wantedBy = [ "sockets.target" ];
      listenStreams = [ "" listenStream ];
    };

    networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall [ cfg.port ];
    boot.kernel.sysctl = mkIf (cfg.kernel.childEhashEntries != null) {
      "net.ipv4.tcp_child_ehash_entries" = cfg.kernel.childEhashEntries;
    };
  };
}
