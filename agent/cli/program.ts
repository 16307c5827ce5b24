import { Command } from 'commander';
import { version } from '../version.ts';
import { addAgent } from './commands/agent.ts';
import { addCa } from './commands/ca.ts';
import { addCleanup } from './commands/cleanup.ts';
import { addCompletion } from './commands/completion.ts';
import { addDocker } from './commands/docker.ts';
import { addDrift } from './commands/drift.ts';
import { addEndpoint } from './commands/endpoint.ts';
import { addImport } from './commands/import.ts';
import { addInit } from './commands/init.ts';
import { addJoin } from './commands/join.ts';
import { addJoinToken } from './commands/join-token.ts';
import { addLeave } from './commands/leave.ts';
import { addMeshKey } from './commands/mesh-key.ts';
import { addNetwork } from './commands/network.ts';
import { addNode } from './commands/node.ts';
import { addReload } from './commands/reload.ts';
import { addSandbox } from './commands/sandbox.ts';
import { addSelfTest } from './commands/self-test.ts';
import { addPublish, addService, addUnpublish } from './commands/service.ts';
import { addStatus } from './commands/status.ts';
import { addToken } from './commands/token.ts';
import { addVersion } from './commands/version.ts';
import { addWait } from './commands/wait.ts';
import { addGlobalOptions, describe } from './define.ts';
import type { Session } from './session.ts';

const epilogue = `
Environment:
  WEFT_HOST  socket of the agent, when --host is not given

Exit codes:
  0  done
  1  the agent refused or failed
  2  the command line was not understood
  3  no agent on the socket, or no permission for it
  4  timed out
  \`weft sandbox exec\` exits with the code of its command; 126: it cannot be executed, 127: it was not found.`;

/** The whole command tree, each action bound to the session. */
export function buildProgram(session: Session): Command {
  const program = new Command('weft');
  program
    // Else an option behind the operands of `sandbox exec` would be taken for one of ours.
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .configureOutput({
      writeOut: (text) => session.io.stdout.write(text),
      writeErr: (text) => session.io.stderr.write(text),
      outputError: () => {},
    })
    .version(`weft version ${version}`, '-v, --version', 'show the version of this program');
  describe(program, {
    summary: "Overlay networks between plain Docker hosts, with Swarm's words and without Swarm.",
    examples: [
      'weft init --advertise-addr 192.0.2.10',
      'weft network create frontend',
      'weft sandbox create --network frontend web',
      'weft status',
    ],
  });
  program.addHelpText('after', epilogue);

  program.commandsGroup('Cluster:');
  addInit(program, session);
  addJoin(program, session);
  addJoinToken(program, session);
  addCa(program, session);
  addMeshKey(program, session);
  addToken(program, session);
  addLeave(program, session);
  addNode(program, session);
  program.commandsGroup('Networks:');
  addNetwork(program, session);
  addSandbox(program, session);
  addEndpoint(program, session);
  addPublish(program, session);
  addUnpublish(program, session);
  addService(program, session);
  addImport(program, session);
  program.commandsGroup('Agent:');
  addAgent(program, session);
  addStatus(program, session);
  addDrift(program, session);
  addSelfTest(program, session);
  addReload(program, session);
  addDocker(program, session);
  addWait(program, session);
  addCleanup(program, session);
  program.commandsGroup('Other:');
  addVersion(program, session);
  addCompletion(program, session);
  program.helpCommand('help [command]', 'show the help of a command');
  addGlobalOptions(program);
  return program;
}
