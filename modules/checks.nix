# Checks of the modules: evaluation as scripts/test-nix does it, and two machines that boot.
{ pkgs, nixpkgs, microvm, module }:
{
  test-nix = pkgs.runCommand "xtcp2-test-nix" { nativeBuildInputs = [ pkgs.nix (pkgs.python3.withPackages (p: [ p.pyyaml ])) pkgs.iproute2 ]; } ''
    cp -r ${../.} source
    chmod -R +w source
    cd source
    NIX_STATE_DIR=$TMPDIR/nix NIXPKGS=${nixpkgs} MICROVM=${microvm} bash scripts/test-nix | tee $out
  '';

  test-module = pkgs.testers.runNixOSTest {
    name = "xtcp2-module";
    nodes.machine = {
      imports = [ module ];
      services.xtcp2 = {
        enable = true;
        frequency = "1s";
        dest = "file:/var/log/xtcp2/rows.jsonl";
        settings = { marshal = "jsonl"; poll_jitter_pct = 0; };
        kernel.childEhashEntries = 4096;
      };
    };
    testScript = ''
      machine.wait_for_unit("xtcp2.service")
      machine.wait_for_open_port(9088)
      machine.succeed("ip netns add blue && ip netns exec blue ip link set lo up")
      machine.succeed("systemd-run --unit=blue ip netns exec blue ${pkgs.socat}/bin/socat TCP-LISTEN:8443,fork OPEN:/dev/null")
      # Under the unit's sandbox: another namespace is entered, and its listener is a row.
      machine.wait_until_succeeds("grep -q /run/netns/blue /var/log/xtcp2/rows.jsonl")
      machine.succeed("sysctl -n net.ipv4.tcp_child_ehash_entries | grep -qx 4096")
      machine.succeed("systemctl reload xtcp2.service")
      machine.succeed("kill -9 $(systemctl show -P MainPID xtcp2.service)")
      machine.wait_until_succeeds("test $(systemctl show -P NRestarts xtcp2.service) = 1")
      machine.wait_until_succeeds("curl -sf http://127.0.0.1:9088/readyz")
      # 2.5 of 10, in the tenths that --threshold takes.
      machine.succeed("systemd-analyze security --threshold=25 xtcp2.service")
    '';
  };

  test-pipeline = pkgs.testers.runNixOSTest {
    name = "xtcp2-pipeline";
    nodes.machine = {
      imports = [ module ];
      services.xtcp2.pipeline.enable = true;
      virtualisation = { memorySize = 4096; cores = 2; diskSize = 8192; };
    };
    testScript = ''
      machine.wait_for_unit("xtcp2-pipeline.service")
      machine.wait_until_succeeds("clickhouse-client -q 'SELECT count() > 0 FROM xtcp.xtcp_flat_records' | grep -qx 1")
      machine.wait_until_succeeds("curl -sf http://127.0.0.1:9090/api/v1/query?query=xtcp2_polls_total | grep -q '\"value\"'")
      machine.wait_until_succeeds("curl -sf -u admin:admin http://127.0.0.1:3000/api/dashboards/uid/xtcp2-sockets")
      # Nothing is lost or doubled when the tables are made again, as by an upgrade.
      machine.succeed("systemctl restart xtcp2-pipeline.service")
      machine.wait_until_succeeds("clickhouse-client -q 'SELECT sum(missing_inside + doubled) = 0 FROM xtcp.reconciliation' | grep -qx 1")
    '';
  };
}
