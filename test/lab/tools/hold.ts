// Makes a lab with agents, prints its id, and holds it until someone ends the process. Usage: hold.ts PROGRAM...
import { Lab } from '../lab.ts';

const lab = await Lab.create({ hosts: 2, program: process.argv.slice(2) });
await lab.startAgents();
process.stdout.write(`${lab.id}\n`);
setInterval(() => {}, 60_000);
