import { mtuOption } from '../mtu.ts';
import { type Driver, wantMtu } from './driver.ts';

/** Networks of the whole cluster. What they ask of the kernel follows from the tables: plan.ts. */
export const overlay: Driver = {
  name: 'overlay',
  scope: 'cluster',
  options: { [mtuOption]: wantMtu },
};
