import type { Command } from 'commander';
import { ApiError, NoAgentError, NoPermissionError } from '../../api/client.ts';
import type { Network } from '../../api/schema.ts';
import { defaultDockerSocket } from '../../docker/socket.ts';
import type { NetworkImport } from '../../docker/swarm.ts';
import { define } from '../define.ts';
import { exitCodes, Failure, isFinal, reportOf } from '../failure.ts';
import { commandsOf, type ImportResult, outcomeText, planText } from '../import-text.ts';
import { once } from '../parse.ts';
import { type Context, type Session, warn } from '../session.ts';

interface Flags {
  readonly create?: boolean;
  readonly prefix?: string;
  readonly dockerSocket?: string;
}

/** `weft import`. */
export function addImport(parent: Command, session: Session): void {
  const group = define(parent, 'import', {
    summary: 'Make networks that others have, here',
    examples: ['weft import swarm'],
  });
  define(group, 'swarm', {
    summary: 'Print how to make the overlay networks of a Swarm as networks of the cluster, or make them',
    details: [
      'Reads what the Docker at --docker-socket knows of its Swarm (on a manager that is all) and changes nothing there.' +
        ' Names, subnets, gateways, ranges, labels, the MTU, --internal and --attachable are as they were; VNIs are chosen' +
        ' anew. What cannot be is said, and why. Without --create it prints commands and needs no agent; with it, run on a' +
        ' manager of the cluster, it makes what is not there yet; a network that fails or cannot be does not stop the' +
        ' others, and makes the exit code 1.',
      "A Docker that has the Swarm's network NAME cannot have Weft's of that name: `weft status` says so until" +
        ' `docker network rm NAME`. So make them all, then take one after the other: end what is on it (`docker service' +
        ' rm`), remove it (`docker network rm`, on a manager of the Swarm), start its containers again (`docker run' +
        ' --network NAME`). With --prefix they are beside each other, and containers can be moved one by one.',
      "Swarm and Weft use the same ports. While both run on a host, set gossip-port and join-port in the agent's" +
        ' configuration, and `weft init --data-path-port 4790`.',
    ].join('\n\n'),
    examples: [
      'weft import swarm',
      'weft import swarm --create',
      'weft import swarm --create --prefix new- shop_frontend shop_backend',
      'weft import swarm > networks.sh',
    ],
  })
    .argument('[swarm-network...]', 'names or ids of networks of the Swarm (default: all)')
    .option('--create', 'make the networks that are not there yet')
    .option('--prefix <text>', 'put this before each name', once)
    .option('--docker-socket <path>', `socket of the Docker to ask (default: ${defaultDockerSocket})`, once)
    .action(session.action<Flags>(importSwarm));
}

async function importSwarm(context: Context, flags: Flags, operands: readonly string[]): Promise<void> {
  const { create = false, prefix = '', dockerSocket = defaultDockerSocket } = flags;
  const { manager, gap, networks } = await context.progress('Asking Docker', readSwarm(dockerSocket));
  if (gap !== '') warn(context, `Docker at ${dockerSocket}: ${gap}`);
  const { planImport } = await import('../../docker/swarm.ts');
  const weft = await weftNetworks(context, create);
  const all = chosen(context, planImport({ docker: networks, weft, prefix }), operands);
  const base = { Docker: dockerSocket, Manager: manager, Complete: gap === '' };
  if (create) {
    const results = await makeAll(context, all);
    const documents = results.map(({ of, state, id }) => ({ ...documentOf(of), State: state, ID: id }));
    context.document({ ...base, Networks: documents });
    context.print(outcomeText(results, prefix));
  } else {
    context.document({ ...base, Networks: all.map(documentOf) });
    context.print(planText(all, dockerSocket, prefix));
  }
}

/** @throws Failure that says what is in the way, and what to do */
async function readSwarm(socketPath: string) {
  // Loaded here alone: other commands ask no Docker.
  const [{ DockerClient }, { DockerError }, { swarmView }] = await Promise.all([
    import('../../docker/client.ts'),
    import('../../docker/errors.ts'),
    import('../../docker/swarm.ts'),
  ]);
  try {
    const docker = new DockerClient({ socketPath });
    const view = swarmView(await docker.info());
    if (!view.ok) throw new Failure(exitCodes.failed, 'no_swarm', `Docker at ${socketPath}: ${view.reason}`, view.hint);
    return { ...view, networks: await docker.networks() };
  } catch (error) {
    if (!(error instanceof DockerError)) throw error;
    throw new Failure(
      exitCodes.failed,
      `docker_${error.code}`,
      error.message,
      'give the socket of another Docker with --docker-socket',
    );
  }
}

/** What Weft has; to look at the plan that need not be known. */
async function weftNetworks(context: Context, isNeeded: boolean): Promise<Network[] | null> {
  try {
    return await context.client.call('networkList');
  } catch (error) {
    if (isNeeded || !(error instanceof NoAgentError || error instanceof NoPermissionError)) throw error;
    warn(context, `${error.message}; what Weft has already is not known`);
    return null;
  }
}

function chosen(context: Context, all: readonly NetworkImport[], refs: readonly string[]): readonly NetworkImport[] {
  if (refs.length === 0) return all;
  const found = refs.flatMap((ref) => {
    const matches = all.filter(({ from }) => from.name === ref || from.id.startsWith(ref));
    if (matches.length === 0) {
      const hint = '`weft import swarm` shows those that there are';
      context.fail(new Failure(exitCodes.failed, 'network_not_found', `the Swarm has no network ${ref}`, hint));
    }
    return matches;
  });
  return [...new Set(found)];
}

const documentOf = (each: NetworkImport) => ({
  SwarmID: each.from.id,
  SwarmName: each.from.name,
  Driver: each.from.driver,
  Name: each.name,
  State: each.state,
  Reason: each.reason,
  Hint: each.hint,
  Notes: each.notes,
  Commands: commandsOf(each),
});

/** One by one. A failure is told and the next one tried, unless no other could do better. */
async function makeAll(context: Context, all: readonly NetworkImport[]): Promise<ImportResult[]> {
  const results: ImportResult[] = [];
  for (const of of all) {
    if (of.state === 'present' || of.state === 'predefined') {
      results.push({ of, state: of.state, id: '' });
    } else if (of.state === 'refused') {
      context.fail(new Failure(exitCodes.failed, 'not_imported', `${of.name} cannot be made: ${of.reason}`, of.hint));
      results.push({ of, state: 'refused', id: '' });
    } else {
      try {
        results.push({ of, state: of.state === 'absent' ? 'created' : 'completed', id: await make(context, of) });
      } catch (error) {
        const { exitCode, code, message, hint } = reportOf(error);
        context.fail(new Failure(exitCode, code, `${of.name}: ${message}`, hint));
        results.push({ of, state: 'failed', id: '' });
        if (isFinal(error) || (error instanceof ApiError && hopeless.includes(error.code))) break;
      }
    }
  }
  return results;
}

/** Refusals of a whole node. */
const hopeless = ['not_active', 'leaving', 'not_manager'];

/** @returns its id; '' of one that was there */
async function make({ client }: Context, { name, request, subnets }: NetworkImport): Promise<string> {
  const id = request === null ? '' : (await client.call('networkCreate', { body: request })).Id;
  for (const SubnetAdd of subnets) await client.call('networkUpdate', { ref: id || name, body: { SubnetAdd } });
  return id;
}
