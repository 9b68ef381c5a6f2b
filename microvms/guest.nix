# A soak scenario as a NixOS guest of microvm.nix: the function from microvms/scenarios/NAME.toml to a module. Whether it is
# accelerated is fixed at evaluation, so each scenario has two guests; microvms/start.sh tries the one and then the other.
{ name, kvm, xtcp2-soak, pipeline }:
{ config, lib, pkgs, ... }:
let
  scenario = builtins.fromTOML (builtins.readFile (./scenarios + "/${name}.toml"));
  hasPipeline = scenario ? pipeline;
  hasContainers = lib.any (load: load.kind == "containers") scenario.load;
  isX86 = pkgs.stdenv.hostPlatform.isx86_64;
  # What a person finds running; a soak starts a daemon of its own.
  shown = [ "xtcp2.service" ] ++ lib.optional hasPipeline "xtcp2-pipeline.service";
in
{
  networking.hostName = name;
  system.stateVersion = config.system.nixos.release;

  microvm = {
    hypervisor = "qemu";
    vcpu = scenario.machine.cpus;
    # QEMU's machine "microvm" hangs with exactly 2 GiB (microvm.nix issue 171).
    mem = if scenario.machine.memory_mib == 2048 then 2049 else scenario.machine.memory_mib;
    # null is KVM and nothing else.
    cpu = if kvm then null else if isX86 then "max,-sgx" else "max";
    qemu = {
      # The one for this architecture; without KVM microvm.nix takes the one for all of them.
      package = pkgs.qemu_kvm;
      # As microvm.nix sets them, but for accel: its "kvm:tcg" would take a KVM that hangs a second time.
      machineOpts = lib.mkIf (!kvm) (
        { accel = "tcg"; }
        // (
          if isX86 then
            { mem-merge = "on"; acpi = "on"; pit = "off"; pic = "off"; pcie = "on"; rtc = "on"; usb = "off"; }
          else
            { gic-version = "max"; }
        )
      );
    };
    # The folder in which start.sh starts it is that of the run.
    socket = null;
    shares = [
      { tag = "ro-store"; source = "/nix/store"; mountPoint = "/nix/.ro-store"; readOnly = true; }
      { tag = "results"; source = "."; mountPoint = "/results"; }
    ];
    # Spool, broker and table want a disk: by default all is in memory. It is sparse, and start.sh removes it.
    volumes = [
      { image = "var.img"; mountPoint = "/var"; size = if hasPipeline then 16384 else 4096; }
    ];
    # Ports of the host that are free when it starts: forwardPorts would fix them now.
    extraArgsScript = ''echo "''${XTCP2_QEMU_ARGUMENTS-}"'';
  };

  # Only ports that start.sh forwards can be reached.
  networking.firewall.enable = false;
  services.getty.autologinUser = "root";
  services.getty.helpLine = ''
    ${scenario.title}. The daemon runs as its service; `xtcp2-soak run ${name}` puts it under load and judges it.
    `reboot` ends the guest.
  '';

  services.xtcp2 = {
    enable = true;
    frequency = scenario.daemon.frequency;
    extraFlags = scenario.daemon.flags;
    port = scenario.ports.admin;
    # The host's forwarded connections do not come from 127.0.0.1.
    openFirewall = true;
    pipeline.enable = hasPipeline;
    # With a pipeline it is that one's broker.
    dest = lib.mkIf (!hasPipeline) "null";
  };
  # Graphs of a guest that ends are of no use.
  services.prometheus.enable = lib.mkForce false;
  services.grafana.enable = lib.mkForce false;
  # A client outside follows the address that the broker advertises: that works when the host's port is the same.
  services.apache-kafka.settings = lib.mkIf hasPipeline {
    "listeners" = [ "PLAINTEXT://0.0.0.0:${toString scenario.ports.kafka}" "CONTROLLER://127.0.0.1:9093" ];
    "advertised.listeners" = [ "PLAINTEXT://127.0.0.1:${toString scenario.ports.kafka}" ];
  };
  environment.etc."clickhouse-server/config.d/guest.xml" = lib.mkIf hasPipeline {
    text = ''
      <clickhouse>
        <listen_host>0.0.0.0</listen_host>
        <http_port>${toString scenario.ports.clickhouse}</http_port>
      </clickhouse>
    '';
  };
  virtualisation.docker.enable = hasContainers;
  environment.systemPackages = [ xtcp2-soak ];

  systemd.services = {
    scenario = {
      description = scenario.title;
      wantedBy = [ "multi-user.target" ];
      wants = lib.optional hasContainers "docker.service";
      after = [ "network.target" "docker.service" ];
      unitConfig = {
        RequiresMountsFor = [ "/results" "/var/lib" ];
        # Without a verdict the run ends too, and start.sh says that there is none.
        FailureAction = "reboot";
      };
      path = [ xtcp2-soak pkgs.iproute2 pkgs.kmod pkgs.gnutar pkgs.python3 ] ++ lib.optional hasContainers pkgs.docker;
      serviceConfig = {
        StandardOutput = "journal+console";
        StandardError = "journal+console";
        # A soak's limits are those of the daemon's own cgroup.
        TasksMax = "infinity";
      };
      # start.sh writes `duration`, and reads `booted` and `status`.
      script = ''
        touch /results/booted
        if ! [ -e /results/duration ]; then
          systemctl start --no-block ${toString shown}
          exit
        fi
        status=0
        # By the folder: a file of its own would have another name in the store, and a scenario has its file's.
        xtcp2-soak run ${./scenarios}/${name}.toml --duration "$(cat /results/duration)" --out /var/lib/soak \
          --daemon ${lib.getExe config.services.xtcp2.package} --pipeline ${lib.getExe pipeline} || status=$?
        # Files are the results; folders are the data of broker, table and spool.
        find /var/lib/soak -maxdepth 1 -type f -exec cp {} /results/ \; || status=2
        echo $status > /results/status
        # QEMU ends at a reboot, and hangs after a power-off.
        systemctl reboot
      '';
    };
    xtcp2.wantedBy = lib.mkForce [ ];
  }
  // lib.genAttrs (lib.optionals hasPipeline [ "apache-kafka" "clickhouse" "xtcp2-pipeline" ]) (_: {
    wantedBy = lib.mkForce [ ];
  });
}
