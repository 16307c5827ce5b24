import { mtuOption } from '../mtu.ts';
import { type Driver, wantMtu } from './driver.ts';

/** Networks of the whole cluster. What they ask of the kernel follows from the tables: plan.ts. */
export const overlay: Driver = {
  name: 'overlay',
  scope: 'cluster',
  options: { [mtuOption]: wantMtu },
  lacks: {
    encrypted: 'what goes between hosts is not encrypted yet; leave it out, or run the hosts on an encrypted network',
    'com.docker.network.driver.overlay.vxlanid_list': 'the cluster chooses VNIs itself; leave it out',
  },
};
