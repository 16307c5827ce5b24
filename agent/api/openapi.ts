import { z } from 'zod';
import { version } from '../version.ts';
import { routes } from './routes.ts';
import { ErrorReply } from './schema.ts';

/** OpenAPI 3.1 description of the local API, made from the same table that the server runs on. */
export function openApiDocument(): object {
  const paths: { [path: string]: { [method: string]: object } } = {};
  for (const [operationId, { method, path, summary, body, reply, query }] of Object.entries(routes)) {
    const parameters = [
      ...(path.includes(':ref') ? [{ name: 'ref', in: 'path', required: true, schema: { type: 'string' } }] : []),
      ...query.map((name) => ({ name, in: 'query', required: false, schema: { type: 'string' } })),
    ];
    const content = (schema: z.ZodType, io: 'input' | 'output') => ({
      'application/json': { schema: z.toJSONSchema(schema, { io }) },
    });
    const key = path.replace(':ref', '{ref}');
    paths[key] = {
      ...paths[key],
      [method.toLowerCase()]: {
        operationId,
        summary,
        parameters,
        ...(method === 'POST' ? { requestBody: { content: content(body, 'input') } } : {}),
        responses: {
          200: { description: 'done', content: content(reply, 'output') },
          default: { description: 'refused or failed', content: content(ErrorReply, 'output') },
        },
      },
    };
  }
  return { openapi: '3.1.0', info: { title: 'Weft local API', version }, paths };
}
