import { bridge } from './bridge.ts';
import type { Driver, LocalDriver } from './driver.ts';
import { host } from './host.ts';
import { predefined } from './local-network.ts';
import { macvlan } from './macvlan.ts';
import { none } from './none.ts';
import { overlay } from './overlay.ts';
import { remote } from './remote.ts';

const localDrivers: readonly LocalDriver[] = [bridge, host, macvlan, none];
export const drivers: readonly Driver[] = [overlay, ...localDrivers];

const localByName = new Map(localDrivers.map((driver) => [driver.name, driver]));
/** One of ours, or else somebody's plugin. @returns undefined for what can be no driver's name */
export const localDriver = (name: string): LocalDriver | undefined => localByName.get(name) ?? remote(name);

/** Docker calls its own overlay so, and what is behind it here may be asked for by our name. */
export const overlayNames: readonly string[] = [overlay.name, 'weft'];

/** The driver of a network that is to be made; null when there is none of that name. */
export const driverFor = (name: string): Driver | LocalDriver | null =>
  overlayNames.includes(name) ? overlay : (localDriver(name) ?? null);

/** Networks that every host has. */
export const predefinedNetworks = localDrivers
  .filter((driver) => driver.predefined)
  .map(({ name }) => predefined(name));
