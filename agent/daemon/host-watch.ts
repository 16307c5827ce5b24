import { hostRoutes } from '../../dataplane/host.ts';
import { deviceWith } from '../../dataplane/interfaces.ts';
import { droppingChains } from '../../dataplane/nft/forwarding.ts';
import type { Logger } from './log.ts';

// Ethernet's; used until the device that carries the VTEP is known.
const defaultUnderlayMtu = 1500;

export interface HostWatchInit {
  readonly log: Logger;
  /** VTEP of this node, and the interface that it was found on; null outside a cluster. */
  readonly member: () => { readonly vtep: string; readonly device: string | null } | null;
  /** Bridges of this host that sandboxes reach the outside by. */
  readonly bridges: () => readonly string[];
  /** Devices by which published ports of IPv6 are led. */
  readonly devices6: () => readonly string[];
  /** The device that carries the VTEP, each time that it was looked at. */
  readonly device: (name: string, mtu: number) => void;
  /** Its MTU is another one. */
  readonly changed: () => void;
}

/** What the host itself may change under us: the MTU of the underlay, the prefixes it routes, what its firewall forwards. */
export class HostWatch {
  readonly #init: HostWatchInit;
  #underlayMtu = defaultUnderlayMtu;
  #prefixes: readonly string[] = [];
  #vtepProblem: string | null = null;
  #forwardingProblem: string | null = null;

  constructor(init: HostWatchInit) {
    this.#init = init;
  }

  /** Bytes. */
  get underlayMtu(): number {
    return this.#underlayMtu;
  }

  /** Those that the host had when it was last looked at: no subnet of ours may share an address with them. */
  get prefixes(): readonly string[] {
    return this.#prefixes;
  }

  warnings(): string[] {
    return [this.#vtepProblem, this.#forwardingProblem].filter((problem) => problem !== null);
  }

  async look(): Promise<void> {
    await this.lookAtForwarding();
    await this.lookAtRoutes();
    const { log, member, device: tell, changed } = this.#init;
    const self = member();
    if (self === null) {
      this.#vtepProblem = null;
      return;
    }
    const device = await deviceWith(self.vtep);
    if (device === null) {
      const next =
        self.device === null
          ? 'set advertise-addr in the configuration of the agent and restart it'
          : `restart the agent to take the address that ${self.device} has now`;
      this.#vtepProblem = `no interface of this host has the VTEP address ${self.vtep}: ${next}`;
      return;
    }
    this.#vtepProblem = null;
    tell(device.device, device.mtu);
    if (device.mtu === this.#underlayMtu) return;
    log.info({ device: device.device, mtu: device.mtu }, 'underlay MTU');
    this.#underlayMtu = device.mtu;
    changed();
  }

  async lookAtRoutes(): Promise<void> {
    this.#prefixes = await hostRoutes();
  }

  async lookAtForwarding(): Promise<void> {
    const [bridges, devices6] = [this.#init.bridges(), this.#init.devices6()];
    const chains = bridges.length === 0 ? [] : await droppingChains(devices6.length > 0);
    this.#forwardingProblem = chains.length === 0 ? null : forwardingProblem(bridges, devices6, chains);
  }
}

function forwardingProblem(bridges: readonly string[], devices6: readonly string[], chains: readonly string[]): string {
  const shown = bridges.length > 3 ? `${bridges.slice(0, 3).join(', ')} and others` : bridges.join(', ');
  return `nftables chain ${chains.join(', ')} drops what it does not accept of all that this host forwards: published ports answer, \
and sandboxes reach the outside by ${shown}, only as far as it accepts that: ${chains.map((chain) => remedyOf(chain, bridges, devices6)).join('; ')}`;
}

/** What has a chain accept it, as commands. Those of iptables are changed by iptables, or it could not read them any more. */
function remedyOf(chain: string, bridges: readonly string[], devices6: readonly string[]): string {
  const [ofIp, ofIp6] = [bridges.slice(0, 1), devices6.slice(0, 1)];
  const devices = chain.startsWith('ip ') ? ofIp : chain.startsWith('ip6 ') ? ofIp6 : [...ofIp, ...ofIp6];
  const iptables = { 'ip filter FORWARD': 'iptables', 'ip6 filter FORWARD': 'ip6tables' }[chain];
  if (iptables === undefined) {
    return devices
      .flatMap((device) => ['iifname', 'oifname'].map((key) => `nft insert rule ${chain} ${key} ${device} accept`))
      .join('; ');
  }
  const rules = devices.flatMap((device) =>
    ['-i', '-o'].map((flag) => `${iptables} -I FORWARD ${flag} ${device} -j ACCEPT`),
  );
  return `${rules.join('; ')} (where Docker runs: DOCKER-USER instead of FORWARD)`;
}
