// Makes a lab with a Docker and a container, prints its id, and holds it until someone ends the process.
import { Docker } from '../docker.ts';
import { Lab } from '../lab.ts';

const lab = await Lab.create({ hosts: 1 });
await (await Docker.start(lab.host(1))).run();
process.stdout.write(`${lab.id}\n`);
setInterval(() => {}, 60_000);
